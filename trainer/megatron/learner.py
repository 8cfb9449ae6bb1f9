"""The learner: a policy on Megatron-Core that gives logprobs, takes optimizer steps and saves itself.

Every process of the job calls the same methods with the same arguments in the same order.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from megatron.core import parallel_state
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from trainer.megatron import (
    adapter_weights,
    adapters,
    checkpoint,
    model,
    platform,
    processes,
    weights,
)
from trainer.megatron.architecture import Architecture
from trainer.megatron.frozen import Frozen
from trainer.megatron.layout import Layout
from trainer.megatron.lora import Lora
from trainer.megatron.microbatch import Microbatch, TrainBatch
from trainer.megatron.optimizer import OptimizerSettings
from trainer.megatron.scribe import Scribe
from trainer.megatron.stepper import Stepper
from trainer.tree import MIN_SAVING

# (current_logprobs [T], entropies [T], both with gradient and 0 where action_mask is False, microbatch)
#   -> (sum of weights * token loss, sums to report)
LossFunction = Callable[[Tensor, Tensor, Microbatch], tuple[Tensor, Mapping[str, Tensor]]]


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step; `sums` are the loss function's, added over all microbatches and processes."""

    loss: float
    gradient_norm: float
    learning_rate: float
    skipped: bool  # the loss or the gradient was not finite, so no weight was touched
    sums: Mapping[str, float]


class Learner:
    """Use as a context manager, or call `close`, where the process goes on without it."""

    def __init__(
        self,
        architecture: Architecture,
        policy: model.PolicyModel,
        stepper: Stepper,
        membership: processes.Membership,
    ) -> None:
        self._architecture = architecture
        self._model = policy
        self._stepper = stepper
        self._membership = membership
        self._scribe = Scribe()

    @classmethod
    def create(
        cls,
        model_dir: Path,
        optimizer: OptimizerSettings,
        *,
        layout: Layout | None = None,
        dtype: torch.dtype = torch.float32,
        recompute: model.Recompute = "none",
        seed: int = 0,
        lora: Lora | None = None,
    ) -> Self:
        """The policy of a Hugging Face directory, on the processes that torchrun started or on this one alone.

        With `lora` its weights stay as they are, and adapters beside them train.
        """
        layout = layout or Layout()
        architecture = Architecture.read(model_dir)
        if lora is not None:
            adapters.check_supported(lora, architecture)
        with ExitStack() as entering:
            membership = processes.enter(layout, seed)
            entering.callback(membership.leave)
            policy = model.build(architecture, layout, dtype, lora, recompute=recompute)
            policy.base_dir = model_dir.absolute()
            weights.load(policy, architecture, model_dir)
            adapters.initialize(policy, seed=seed)
            stepper = Stepper(policy, optimizer, distributed=layout.distributed_optimizer)
            entering.pop_all()
        return cls(architecture, policy, stepper, membership)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for checkpoints in the making and leave the job, unless it was there before this learner."""
        self._scribe.close()
        self._membership.leave()

    @property
    def steps(self) -> int:
        """Optimizer steps taken, those before a checkpoint included."""
        return self._stepper.num_steps

    @property
    def lora(self) -> Lora | None:
        """The adapters that train in the place of the weights, if they do."""
        return self._model.lora

    @property
    def base_dir(self) -> Path:
        """The directory whose weights the first step was taken from; those that adapters are added to."""
        return self._model.base_dir

    @property
    def num_trained(self) -> int:
        """Numbers that this process's optimizer moves; the rest of the model takes no room in it."""
        return self._stepper.num_trained

    @property
    def min_tree_saving(self) -> float:
        """How many times smaller than its rows a tree must be to be worth packing here; inf: never."""
        return MIN_SAVING if platform.can_branch() else math.inf

    @property
    def is_primary(self) -> bool:
        """True in the one process that writes files and talks to others."""
        return torch.distributed.get_rank() == 0

    @torch.no_grad()
    def logprobs(self, batch: TrainBatch, *, of: Frozen | None = None) -> list[Tensor]:
        """The policy's logprob of each action token, or a frozen one's; float32 [T] on the CPU for each microbatch."""
        share = _own_share(batch)
        self._model.eval()  # nothing is dropped from what is only measured
        with nullcontext() if of is None else of.in_place(self._model):
            measured = self._run(share, _keep_logprobs, forward_only=True)
        sizes = [microbatch.num_tokens for microbatch in batch.microbatches]
        merged = torch.zeros(sum(sizes), device=platform.device())
        rank, ranks = _data_parallel_place()
        for own, target in zip(measured, torch.split(merged, sizes)[rank::ranks], strict=False):
            target.copy_(own)
        _sum_over_job(merged)
        return list(torch.split(merged.cpu(), sizes))

    def freeze(self, model_dir: Path) -> Frozen:
        """The policy of a directory of this architecture, to be measured beside the learner's own."""
        return Frozen.read(self._model, self._architecture, model_dir)

    def step(self, batch: TrainBatch, loss: LossFunction) -> StepMetrics:
        """One optimizer step down the gradient of the batch's loss."""
        share = _own_share(batch)
        self._stepper.clear_gradients()
        self._model.train()
        outcomes = self._run(share, partial(_apply_loss, loss), forward_only=False)
        total_loss, sums = _total(outcomes)
        norm, moved = self._stepper.step(loss=total_loss)
        return StepMetrics(total_loss, norm, self._stepper.learning_rate, not moved, sums)

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, whole CPU tensor), adapters merged; every process must take all of them."""
        return weights.export(self._model, self._architecture)

    def export_adapters(self) -> Iterator[tuple[str, Tensor]]:
        """(PEFT's name, whole CPU tensor); every process must take all of them."""
        if self.lora is None:
            return iter(())
        return adapter_weights.export(self._model, self._architecture, self.lora)

    def begin_save(self, path: Path, state: Mapping[str, object]) -> Future[None]:
        """Write a checkpoint directory of the present, whole or not at all, while the caller goes on.

        `state` is the caller's, of JSON values. Every process has the same outcome: OSError if it cannot be written.
        """
        draft = checkpoint.Draft.of(path, self._model, self._stepper, self._architecture, state)
        return self._scribe.begin(draft.write)

    def save(self, path: Path, state: Mapping[str, object]) -> None:
        """As `begin_save`, to its end."""
        self.begin_save(path, state).result()

    def load(self, path: Path) -> dict[str, object]:
        """Continue from a checkpoint of this architecture, saved under any layout; gives the caller's state."""
        return checkpoint.load(path, self._model, self._stepper, self._architecture)

    def _run(
        self, share: Sequence[Microbatch], finish: Callable[..., Any], *, forward_only: bool
    ) -> list[Any]:
        """Megatron's schedule over this process's microbatches; what `finish` gave, on the last stage."""

        def forward(microbatches: Iterator[Microbatch], wrapped: Any) -> tuple[Tensor, Any]:
            microbatch = next(microbatches).to(platform.device())
            return wrapped(microbatch), partial(finish, microbatch=microbatch)

        outputs: list[Any] = get_forward_backward_func()(
            forward_step_func=forward,
            data_iterator=iter(share),
            model=[self._stepper.wrapped_model],
            num_microbatches=len(share),
            seq_length=1,  # unused: each microbatch states its own length
            micro_batch_size=1,
            forward_only=forward_only,
            collect_non_loss_data=forward_only,
        )
        return outputs


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the loss function said about one microbatch."""

    loss: Tensor
    sums: dict[str, Tensor]


def _keep_logprobs(measured: Tensor, *, microbatch: Microbatch, non_loss_data: bool) -> Tensor:
    assert non_loss_data
    del microbatch
    return measured[0]


def _apply_loss(
    loss: LossFunction, measured: Tensor, *, microbatch: Microbatch
) -> tuple[Tensor, Tensor, _Outcome]:
    """Megatron's triple: the loss, a token count that we do not use, what to collect."""
    value, sums = loss(measured[0], measured[1], microbatch)
    reported = {name: tensor.detach().double() for name, tensor in sums.items()}
    outcome = _Outcome(value.detach().double(), reported)
    return value, torch.zeros((), dtype=torch.int, device=value.device), outcome


def _data_parallel_place() -> tuple[int, int]:
    return parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()


def _own_share(batch: TrainBatch) -> list[Microbatch]:
    rank, ranks = _data_parallel_place()
    return batch.share(rank, ranks)


def _total(outcomes: list[_Outcome]) -> tuple[float, dict[str, float]]:
    """(loss, sums) over all microbatches and processes, on every process."""
    message = [sorted(outcomes[0].sums)] if outcomes else [[]]
    torch.distributed.broadcast_object_list(
        message,
        src=parallel_state.get_pipeline_model_parallel_last_rank(),
        group=parallel_state.get_pipeline_model_parallel_group(),
    )
    names = message[0]
    totals = torch.zeros(1 + len(names), dtype=torch.float64, device=platform.device())
    for outcome in outcomes:
        totals += torch.stack([outcome.loss, *(outcome.sums[name] for name in names)])
    _sum_over_job(totals)
    loss, *sums = totals.tolist()
    return loss, dict(zip(names, sums, strict=True))


def _sum_over_job(value: Tensor) -> None:
    """Add what the data-parallel copies of the last stage have, and tell the other stages."""
    torch.distributed.all_reduce(value, group=parallel_state.get_data_parallel_group())
    torch.distributed.broadcast(
        value,
        src=parallel_state.get_pipeline_model_parallel_last_rank(),
        group=parallel_state.get_pipeline_model_parallel_group(),
    )
