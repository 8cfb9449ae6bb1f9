"""Adam with the interface of TransformerEngine's FusedAdam.

The step count is an int in the parameter group and the state holds the two moments only, which is
what Megatron's distributed optimizer expects of a fused Adam when it saves and loads.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class FusedAdam(torch.optim.Optimizer):
    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        adam_w_mode: bool = True,
        bias_correction: bool = True,
    ) -> None:
        assert adam_w_mode, "weight decay is decoupled from the gradient"
        assert bias_correction, "torch's fused kernel always corrects the bias"
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "bias_correction": bias_correction,
            },
        )

    def initialize_state(self, param: Tensor, store_param_remainders: bool = False) -> None:
        assert not store_param_remainders, "a GPU-only memory saving"
        for moment in ("exp_avg", "exp_avg_sq"):
            self.state[param][moment] = torch.zeros_like(param.data, dtype=torch.float32)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            if group["params"]:
                group["step"] = group.get("step", 0) + 1
                self._step_group(group)

    def _step_group(self, group: dict[str, Any]) -> None:
        params = [param for param in group["params"] if param.grad is not None]
        for param in params:
            if param not in self.state:
                self.initialize_state(param)
        if params:
            torch._fused_adamw_(
                params,
                [param.grad for param in params],
                [self.state[param]["exp_avg"] for param in params],
                [self.state[param]["exp_avg_sq"] for param in params],
                [],
                [torch.tensor(float(group["step"]), device=params[0].device)] * len(params),
                lr=float(group["lr"]),
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
