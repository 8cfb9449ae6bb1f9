"""One optimizer step on Megatron's gradient buffers: skipped if not finite, clipped, on schedule.

The optimizer copies the weights into float32 masters when it is made, so the weights must be loaded before.
"""

import math
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.optimizer import OptimizerConfig, clip_grads, get_megatron_optimizer
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.model.packed_gpt import PackedGpt

_FROM_SETTINGS = ("max_lr", "min_lr", "betas", "eps")  # the same in every parameter group


class Stepper:
    """The model wrapped for gradient reduction, its optimizer and its schedule."""

    def __init__(self, model: PackedGpt, settings: OptimizerSettings, *, distributed: bool) -> None:
        self.wrapped_model = DistributedDataParallel(
            model.config,
            DistributedDataParallelConfig(
                grad_reduce_in_fp32=True, use_distributed_optimizer=distributed
            ),
            model,
        )
        _count_padding(self.wrapped_model)
        dtype = model.config.params_dtype
        config = OptimizerConfig(
            optimizer="adam",
            lr=settings.learning_rate,
            min_lr=settings.learning_rate * settings.minimum_ratio,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            adam_eps=settings.epsilon,
            weight_decay=settings.weight_decay,
            clip_grad=settings.clip_gradient_norm,
            bf16=dtype == torch.bfloat16,
            params_dtype=dtype,
            use_distributed_optimizer=distributed,
        )
        self.optimizer = get_megatron_optimizer(
            config, [self.wrapped_model], use_gloo_process_groups=False
        )
        for part in self.optimizer.chained_optimizers:
            # Moments exist from the start, so that a checkpoint before the first step has them.
            part.init_state_fn(part.optimizer, part.config)
        self.schedule = _schedule(self.optimizer, settings)

    @property
    def num_steps(self) -> int:
        return int(self.schedule.num_steps)

    @property
    def num_trained(self) -> int:
        groups = self.optimizer.param_groups
        return sum(parameter.numel() for group in groups for parameter in group["params"])

    @property
    def learning_rate(self) -> float:
        """The rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def resume(self, optimizer_state: dict[str, Any], *, steps: int) -> None:
        """Load moments and counts of a checkpoint; the settings stay those of this learner."""
        own = {name: self.optimizer.param_groups[0][name] for name in _FROM_SETTINGS}
        with torch.no_grad():  # the float32 masters are views of leaves
            self.optimizer.load_state_dict(optimizer_state)
        for group in self.optimizer.param_groups:
            group.update(own)
        self.schedule.num_steps = 0
        self.schedule.step(steps)

    def clear_gradients(self) -> None:
        self.wrapped_model.zero_grad_buffer()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def step(self, *, loss: float) -> tuple[float, bool]:
        """(gradient norm, whether the weights changed); they do not if the loss or the norm is not finite."""
        self.optimizer.prepare_grads()
        norm = float(self.optimizer.get_grad_norm())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return norm, False
        self.schedule.step(1)
        self._clip(norm)
        return norm, bool(self.optimizer.step_with_ready_grads())

    def _clip(self, norm: float) -> None:
        """Clip as the optimizer's own `step` does, which would prepare and measure the gradients a second time."""
        for part in self.optimizer.chained_optimizers:
            parameters = part.get_parameters()
            if parameters and part.config.clip_grad > 0:
                clip_grads.clip_grad_by_total_norm_fp32(parameters, part.config.clip_grad, norm)


def _count_padding(wrapped_model: DistributedDataParallel) -> None:
    """Make the distributed optimizer save the padding between its buckets too.

    It reads a parameter's moments at the parameter's place in the padded buffer, but from a copy without
    padding: with more than one bucket (tied embeddings over pipeline stages) they would be shifted.
    """
    for buffer in wrapped_model.buffers:
        buffer.numel_unpadded = buffer.numel
        for bucket in buffer.buckets:
            bucket.numel_unpadded = bucket.grad_data.numel()


def _schedule(optimizer: Any, settings: OptimizerSettings) -> OptimizerParamScheduler:
    steps = settings.decay_steps or settings.warmup_steps + 1
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=settings.learning_rate,
        min_lr=settings.learning_rate * settings.minimum_ratio,
        lr_warmup_steps=settings.warmup_steps,
        lr_decay_steps=steps,
        lr_decay_style=settings.schedule,
        start_wd=settings.weight_decay,
        end_wd=settings.weight_decay,
        wd_incr_steps=steps,
        wd_incr_style="constant",
    )
