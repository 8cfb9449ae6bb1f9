"""The learner on Megatron-Core; `trainer/learner/learner.py` states what its methods promise."""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import torch
from megatron.core import parallel_state
from torch import Tensor

from trainer.learner.layout import Layout
from trainer.learner.learner import Recompute
from trainer.learner.lora import Lora
from trainer.learner.microbatch import TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.learner.optimizer_step import PolicyLoss, StepMetrics, ValueLoss
from trainer.learner.paths import MIN_SAVING
from trainer.megatron import platform, processes
from trainer.megatron.architecture import Architecture
from trainer.megatron.checkpoint import checkpoint
from trainer.megatron.checkpoint.checkpoint_writer import CheckpointWriter
from trainer.megatron.frozen_policy import MegatronFrozenPolicy
from trainer.megatron.layers import adapters
from trainer.megatron.model.critic_model import CriticModel
from trainer.megatron.model.network import Network
from trainer.megatron.networks import Blueprint, Networks
from trainer.megatron.weights import adapter_weights, weights


class MegatronLearner:
    """Use as a context manager or call `close` if the process continues without it."""

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
        """A process that had joined the job before this learner was made stays in it."""
        self._checkpoint_writer.close()
        self._membership.leave()

    @property
    def steps(self) -> int:
        network = self._networks.critic or self._policy
        return network.stepper.num_steps

    @property
    def lora(self) -> Lora | None:
        return self._policy.model.lora

    @property
    def base_dir(self) -> Path:
        return self._policy.model.base_dir

    @property
    def num_trained(self) -> int:
        return self._policy.stepper.num_trained

    @property
    def data_parallel(self) -> int:
        return int(parallel_state.get_data_parallel_world_size())

    @property
    def min_tree_saving(self) -> float:
        return MIN_SAVING if platform.can_branch() else math.inf

    @property
    def is_primary(self) -> bool:
        return torch.distributed.get_rank() == 0

    def logprobs(self, batch: TrainBatch) -> list[Tensor]:
        return self._policy.measure(batch)

    def values(self, batch: TrainBatch) -> list[Tensor]:
        return self._value_network.measure(batch)

    def freeze(self, model_dir: Path) -> MegatronFrozenPolicy:
        return MegatronFrozenPolicy.read(self._policy, self._architecture, model_dir)

    def step(self, batch: TrainBatch, loss: PolicyLoss) -> StepMetrics:
        return self._policy.step(batch, loss)

    def step_critic(self, batch: TrainBatch, loss: ValueLoss) -> StepMetrics:
        return self._value_network.step(batch, loss)

    def export(self) -> Iterator[tuple[str, Tensor]]:
        return weights.export(self._policy.model, self._architecture)

    def export_adapters(self) -> Iterator[tuple[str, Tensor]]:
        if self.lora is None:
            return iter(())
        return adapter_weights.export(self._policy.model, self._architecture, self.lora)

    def begin_save(self, path: Path, state: Mapping[str, object]) -> Future[None]:
        draft = checkpoint.Draft.of(path, self._networks, state)
        return self._checkpoint_writer.begin(draft.write)

    def load(self, path: Path) -> dict[str, object]:
        """The checkpoint may have been saved under any layout."""
        return checkpoint.load(path, self._networks)

    @property
    def _value_network(self) -> Network[CriticModel]:
        assert self._networks.critic is not None, "made without a critic"
        return self._networks.critic
