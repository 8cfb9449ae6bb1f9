"""What a trainer backend offers to the training loop; `trainer/megatron` is the first one.

A learner holds one policy, and a critic if the algorithm has one, spread over the processes of one training job. Every process
calls the same methods with the same arguments in the same order: any method may wait for the other processes. Batches are
global: every process passes the whole batch and gets the results of the whole batch.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from trainer.learner.layout import Layout
from trainer.learner.lora import Lora
from trainer.learner.microbatch import TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.learner.optimizer_step import PolicyLoss, StepMetrics, ValueLoss

# What the backward pass computes again instead of storing it: nothing, what attention computes, or all of every layer.
Recompute = Literal["none", "selective", "full"]


class FrozenPolicy(Protocol):
    """A policy that does not train, such as the reference policy of a KL term."""

    def logprobs(self, batch: TrainBatch) -> list[Tensor]:
        """As `Learner.logprobs`, of the frozen policy; the learner's own weights are not changed."""


class Learner(Protocol):
    """One policy, its optimizer, and its checkpoints."""

    @property
    def steps(self) -> int:
        """Optimizer steps taken, those before a loaded checkpoint included; of the critic if there is one, which steps first."""

    @property
    def num_trained(self) -> int:
        """How many numbers of the policy the optimizer of this process changes."""

    @property
    def lora(self) -> Lora | None:
        """The adapters that train instead of the weights, or None if all weights train."""

    @property
    def base_dir(self) -> Path:
        """The Hugging Face directory whose weights were loaded first; adapters are added to these weights."""

    @property
    def data_parallel(self) -> int:
        """How many copies of the model share the microbatches of a batch."""

    @property
    def min_tree_saving(self) -> float:
        """How many times fewer tokens a tree must have than its rows to be packed as a tree; inf if trees are not supported."""

    @property
    def is_primary(self) -> bool:
        """True in exactly one process, which writes files and talks to other services."""

    def logprobs(self, batch: TrainBatch) -> list[Tensor]:
        """The policy's logprob of each action token, 0 for other tokens; float32 [T] on the CPU for each microbatch."""

    def values(self, batch: TrainBatch) -> list[Tensor]:
        """The critic's value of the state before each action token, in the form of `logprobs`."""

    def freeze(self, model_dir: Path) -> FrozenPolicy:
        """The policy of another Hugging Face directory of this architecture; ModelNotSupported if it is of another."""

    def step(self, batch: TrainBatch, loss: PolicyLoss) -> StepMetrics:
        """One optimizer step of the policy on the sum of the loss over all microbatches; skipped if loss or gradient is not finite."""

    def step_critic(self, batch: TrainBatch, loss: ValueLoss) -> StepMetrics:
        """One optimizer step of the critic, as `step`."""

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, whole tensor on the CPU), adapters merged. Every process must consume the iterator to its end."""

    def export_adapters(self) -> Iterator[tuple[str, Tensor]]:
        """(PEFT's name, whole tensor on the CPU), as `export`; nothing if there are no adapters."""

    def begin_save(self, path: Path, state: Mapping[str, object]) -> Future[None]:
        """Write a checkpoint of this moment to a new directory in the background.

        The directory appears under its name when it is complete. `state` belongs to the caller and holds JSON values. The future
        raises OSError on every process if the checkpoint cannot be written, CheckpointError if `path` exists.
        """

    def load(self, path: Path) -> dict[str, object]:
        """Continue from a checkpoint and return the caller's `state`. Before any weight is changed, and on every process:
        CheckpointDamaged if a file is missing or has changed, CheckpointError if it is of another model.
        """

    def close(self) -> None:
        """Wait for checkpoints that are being written, then leave the training job."""


class CreateLearner(Protocol):
    """How the assembly of a training job makes its learner; one for each backend."""

    def __call__(
        self,
        model_dir: Path,
        optimizer: OptimizerSettings,
        *,
        layout: Layout | None = None,
        dtype: torch.dtype = torch.float32,
        recompute: Recompute = "none",
        seed: int = 0,
        lora: Lora | None = None,
        critic: OptimizerSettings | None = None,
    ) -> Learner:
        """The policy of a Hugging Face directory, on the processes that torchrun started or on this one alone.

        With `lora` the weights stay fixed and adapters train. With `critic` a second model, started from the policy's weights,
        learns values under an optimizer of these settings. Starts torch.distributed. Raises a `LearnerError`.
        """
