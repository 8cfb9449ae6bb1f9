"""SIGNATURES ONLY (being implemented): code against these."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainer.megatron.layout import Layout
from trainer.megatron.microbatch import Microbatch, TrainBatch
from trainer.megatron.optimizer import OptimizerSettings

# (current_logprobs [T] with gradient and 0 where action_mask is False, entropy [T] or None, microbatch)
#   -> (sum of weights * token loss, detached sums to report)
LossFunction = Callable[[Tensor, Tensor | None, Microbatch], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step; `sums` are the loss function's, added over all microbatches and ranks."""

    loss: float
    gradient_norm: float
    learning_rate: float
    skipped: bool  # the loss or the gradient was not finite, and no weight was touched
    sums: Mapping[str, float]


class Learner:
    @classmethod
    def create(
        cls,
        model_dir: Path,
        optimizer: OptimizerSettings,
        *,
        layout: Layout | None = None,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> "Learner":
        """Loads an HF directory (config.json + safetensors); starts torch.distributed if nobody has."""
        raise AssertionError

    @property
    def steps(self) -> int:
        """Optimizer steps taken (restored by load)."""
        raise AssertionError

    @property
    def is_primary(self) -> bool:
        """True on the one process (rank 0) that writes files and talks to others."""
        raise AssertionError

    def logprobs(self, batch: TrainBatch) -> list[Tensor]:
        """Float32 [T] on CPU per microbatch of the global batch, on every rank; 0 where action_mask is False."""
        raise AssertionError

    def step(self, batch: TrainBatch, loss: LossFunction, *, entropy: bool = False) -> StepMetrics:
        """Forward, backward, clip, optimizer, schedule. `entropy=True` hands the loss float32 [T] entropies."""
        raise AssertionError

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """(HF name, full CPU tensor); EVERY rank must exhaust it (collective), rank 0 writes."""
        raise AssertionError

    def save(self, path: Path, state: Mapping[str, object]) -> None:
        """A whole checkpoint directory (temporary name, fsync, rename); `state` is JSON-able and the caller's."""
        raise AssertionError

    def load(self, path: Path) -> dict[str, object]:
        """Restores model, optimizer, schedule and RNG; returns the caller's state. CheckpointError if unfinished/foreign."""
        raise AssertionError

    def close(self) -> None:
        """Leaves the process groups that create() started."""
        raise AssertionError
