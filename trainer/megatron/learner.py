"""The learner: a policy on Megatron-Core that gives logprobs, takes optimizer steps and saves itself.

Every process of the job calls the same methods with the same arguments in the same order.
"""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from trainer.learner.layout import Layout
from trainer.learner.lora import Lora
from trainer.learner.microbatch import TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.learner.paths import MIN_SAVING
from trainer.megatron import platform, processes
from trainer.megatron.architecture import Architecture
from trainer.megatron.checkpoint import checkpoint
from trainer.megatron.checkpoint.checkpoint_writer import CheckpointWriter
from trainer.megatron.configuration import Recompute
from trainer.megatron.frozen_policy import Frozen
from trainer.megatron.layers import adapters
from trainer.megatron.model.critic_model import CriticModel
from trainer.megatron.model.network import LossFunction, Network, StepMetrics
from trainer.megatron.networks import Blueprint, Networks
from trainer.megatron.weights import adapter_weights, weights


class Learner:
    """Use as a context manager, or call `close`, where the process goes on without it."""

    def __init__(self, networks: Networks, membership: processes.Membership) -> None:
        self._networks = networks
        self._architecture, self._policy = networks.architecture, networks.policy
        self._membership = membership
        self._checkpoint_writer = CheckpointWriter()

    @classmethod
    def create(
        cls,
        model_dir: Path,
        optimizer: OptimizerSettings,
        *,
        layout: Layout | None = None,
        dtype: torch.dtype = torch.float32,
        recompute: Recompute = "none",
        seed: int = 0,
        lora: Lora | None = None,
        critic: OptimizerSettings | None = None,
    ) -> Self:
        """The policy of a Hugging Face directory, on the processes that torchrun started or on this one alone.

        With `lora` its weights stay as they are, and adapters beside them train. With `critic` a second model learns values, all
        its weights and from the policy's, under an optimizer of these settings.
        """
        layout = layout or Layout()
        architecture = Architecture.read(model_dir)
        if lora is not None:
            adapters.check_supported(lora, architecture)
        with ExitStack() as entering:
            membership = processes.enter(layout, seed)
            entering.callback(membership.leave)
            made = Blueprint(model_dir, architecture, layout, dtype, recompute)
            networks = Networks(
                architecture,
                made.policy(optimizer, lora, seed=seed),
                None if critic is None else made.critic(critic),
            )
            entering.pop_all()
        return cls(networks, membership)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for checkpoints in the making and leave the job, unless it was there before this learner."""
        self._checkpoint_writer.close()
        self._membership.leave()

    @property
    def steps(self) -> int:
        """Optimizer steps taken, those before a checkpoint included; of the critic if there is one, which moves first."""
        network = self._networks.critic or self._policy
        return network.stepper.num_steps

    @property
    def has_critic(self) -> bool:
        return self._networks.critic is not None

    @property
    def lora(self) -> Lora | None:
        """The adapters that train in the place of the weights, if they do."""
        return self._policy.model.lora

    @property
    def base_dir(self) -> Path:
        """The directory whose weights the first step was taken from; those that adapters are added to."""
        return self._policy.model.base_dir

    @property
    def num_trained(self) -> int:
        """Numbers of the policy that this process's optimizer moves; the rest of the model takes no room in it."""
        return self._policy.stepper.num_trained

    @property
    def min_tree_saving(self) -> float:
        """How many times smaller than its rows a tree must be to be worth packing here; inf: never."""
        return MIN_SAVING if platform.can_branch() else math.inf

    @property
    def is_primary(self) -> bool:
        """True in the one process that writes files and talks to others."""
        return torch.distributed.get_rank() == 0

    def logprobs(self, batch: TrainBatch, *, of: Frozen | None = None) -> list[Tensor]:
        """The policy's logprob of each action token, or a frozen one's; float32 [T] on the CPU for each microbatch."""
        with nullcontext() if of is None else of.in_place(self._policy.model):
            return self._policy.measure(batch)

    def values(self, batch: TrainBatch) -> list[Tensor]:
        """The critic's value of the state before each action token, as `logprobs`."""
        return self._value_network.measure(batch)

    def freeze(self, model_dir: Path) -> Frozen:
        """The policy of a directory of this architecture, to be measured beside the learner's own."""
        return Frozen.read(self._policy.model, self._architecture, model_dir)

    def step(self, batch: TrainBatch, loss: LossFunction) -> StepMetrics:
        """One optimizer step of the policy down the gradient of the batch's loss."""
        return self._policy.step(batch, loss)

    def step_critic(self, batch: TrainBatch, loss: LossFunction) -> StepMetrics:
        """The same of the critic; its loss gets (values [T], microbatch)."""
        return self._value_network.step(batch, loss)

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, whole CPU tensor), adapters merged; every process must take all of them."""
        return weights.export(self._policy.model, self._architecture)

    def export_adapters(self) -> Iterator[tuple[str, Tensor]]:
        """(PEFT's name, whole CPU tensor); every process must take all of them."""
        if self.lora is None:
            return iter(())
        return adapter_weights.export(self._policy.model, self._architecture, self.lora)

    def begin_save(self, path: Path, state: Mapping[str, object]) -> Future[None]:
        """Write a checkpoint directory of the present, whole or not at all, while the caller goes on.

        `state` is the caller's, of JSON values. Every process has the same outcome: OSError if it cannot be written.
        """
        draft = checkpoint.Draft.of(path, self._networks, state)
        return self._checkpoint_writer.begin(draft.write)

    def save(self, path: Path, state: Mapping[str, object]) -> None:
        """As `begin_save`, to its end."""
        self.begin_save(path, state).result()

    def load(self, path: Path) -> dict[str, object]:
        """Continue from a checkpoint of this architecture, saved under any layout; gives the caller's state."""
        return checkpoint.load(path, self._networks)

    @property
    def _value_network(self) -> Network[CriticModel]:
        assert self._networks.critic is not None, "made without a critic"
        return self._networks.critic
