"""A model that trains: its part on this process, its optimizer, and Megatron's schedule over the microbatches of a batch.

Every process of the job calls the same methods with the same arguments in the same order.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.learner.optimizer_step import Loss, StepMetrics
from trainer.megatron import platform
from trainer.megatron.model.packed_gpt import PackedGpt
from trainer.megatron.model.stepper import Stepper

LossFunction = Callable[..., Loss]  # a PolicyLoss or a ValueLoss
Model = TypeVar("Model", bound=PackedGpt)


class Network(Generic[Model]):
    """The policy or the critic."""

    def __init__(self, model: Model, settings: OptimizerSettings, *, distributed: bool) -> None:
        """The model's weights must be loaded: the optimizer copies them."""
        self.model = model
        self.stepper = Stepper(model, settings, distributed=distributed)

    @torch.no_grad()
    def measure(self, batch: TrainBatch) -> list[Tensor]:
        """The first output of each action token; float32 [T] on the CPU for each microbatch."""
        share = _own_share(batch)
        self.model.eval()  # no dropout
        measured = self._run(share, _keep_first, forward_only=True)
        sizes = [microbatch.num_tokens for microbatch in batch.microbatches]
        merged = torch.zeros(sum(sizes), device=platform.device())
        rank, ranks = _data_parallel_place()
        for own, target in zip(measured, torch.split(merged, sizes)[rank::ranks], strict=False):
            target.copy_(own)
        _over_job(merged, dist.ReduceOp.SUM)
        return list(torch.split(merged.cpu(), sizes))

    def step(self, batch: TrainBatch, loss: LossFunction) -> StepMetrics:
        """One optimizer step down the gradient of the batch's loss."""
        share = _own_share(batch)
        self.stepper.clear_gradients()
        self.model.train()
        outcomes = self._run(share, partial(_apply_loss, loss), forward_only=False)
        total_loss, sums, maxima = _total(outcomes)
        norm, moved = self.stepper.step(loss=total_loss)
        return StepMetrics(total_loss, norm, self.stepper.learning_rate, not moved, sums, maxima)

    def _run(
        self, share: Sequence[Microbatch], finish: Callable[..., Any], *, forward_only: bool
    ) -> list[Any]:
        """Run Megatron's schedule over this process's microbatches; returns the results of `finish`, on the last stage."""

        def forward(microbatches: Iterator[Microbatch], wrapped: Any) -> tuple[Tensor, Any]:
            microbatch = next(microbatches).to(platform.device())
            return wrapped(microbatch), partial(finish, microbatch=microbatch)

        outputs: list[Any] = get_forward_backward_func()(
            forward_step_func=forward,
            data_iterator=iter(share),
            model=[self.stepper.wrapped_model],
            num_microbatches=len(share),
            seq_length=1,  # unused: each microbatch has its own length
            micro_batch_size=1,
            forward_only=forward_only,
            collect_non_loss_data=forward_only,
        )
        return outputs


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The results of the loss function for one microbatch."""

    loss: Tensor
    sums: dict[str, Tensor]


def _keep_first(measured: Tensor, *, microbatch: Microbatch, non_loss_data: bool) -> Tensor:
    assert non_loss_data
    del microbatch
    return measured[0]


def _apply_loss(
    loss: LossFunction, measured: Tensor, *, microbatch: Microbatch
) -> tuple[Tensor, Tensor, _Outcome]:
    """Megatron's triple: the loss, an unused token count, and the results to collect."""
    value, sums = loss(*measured, microbatch)
    reported = {name: tensor.detach().double() for name, tensor in sums.items()}
    outcome = _Outcome(value.detach().double(), reported)
    return value, torch.zeros((), dtype=torch.int, device=value.device), outcome


def _data_parallel_place() -> tuple[int, int]:
    return parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()


def _own_share(batch: TrainBatch) -> list[Microbatch]:
    rank, ranks = _data_parallel_place()
    return batch.share(rank, ranks)


def _total(outcomes: list[_Outcome]) -> tuple[float, dict[str, float], dict[str, float]]:
    """(loss, sums, maxima) over all microbatches and processes, on every process."""
    message = [sorted(outcomes[0].sums)] if outcomes else [[]]
    dist.broadcast_object_list(
        message,
        src=parallel_state.get_pipeline_model_parallel_last_rank(),
        group=parallel_state.get_pipeline_model_parallel_group(),
    )
    added = [name for name in message[0] if not name.endswith("_max")]
    largest = [name for name in message[0] if name.endswith("_max")]
    totals = torch.zeros(1 + len(added), dtype=torch.float64, device=platform.device())
    maxima = totals.new_full((len(largest),), -math.inf)
    for outcome in outcomes:
        totals += torch.stack([outcome.loss, *(outcome.sums[name] for name in added)])
        for place, name in enumerate(largest):
            maxima[place] = torch.maximum(maxima[place], outcome.sums[name])
    _over_job(totals, dist.ReduceOp.SUM)
    if largest:
        _over_job(maxima, dist.ReduceOp.MAX)
    loss, *sums = totals.tolist()
    return (
        loss,
        dict(zip(added, sums, strict=True)),
        dict(zip(largest, maxima.tolist(), strict=True)),
    )


def _over_job(value: Tensor, operation: dist.ReduceOp.RedOpType) -> None:
    """Reduce over the data-parallel copies of the last stage, and broadcast to the other stages."""
    dist.all_reduce(value, operation, group=parallel_state.get_data_parallel_group())
    dist.broadcast(
        value,
        src=parallel_state.get_pipeline_model_parallel_last_rank(),
        group=parallel_state.get_pipeline_model_parallel_group(),
    )
