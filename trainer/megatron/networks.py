"""The models that train together: the policy, and a critic if the algorithm has one."""

from dataclasses import dataclass
from pathlib import Path

import torch

from trainer.learner.layout import Layout
from trainer.learner.learner import Recompute
from trainer.learner.lora import Lora
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.architecture import Architecture
from trainer.megatron.layers import adapters
from trainer.megatron.model.critic_model import CriticModel
from trainer.megatron.model.network import Network
from trainer.megatron.model.policy_model import PolicyModel
from trainer.megatron.weights import weights


@dataclass(frozen=True, slots=True)
class Networks:
    architecture: Architecture
    policy: Network[PolicyModel]
    critic: Network[CriticModel] | None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """How to make both; they differ in their heads, and only the policy may have adapters."""

    model_dir: Path
    architecture: Architecture
    layout: Layout
    dtype: torch.dtype
    recompute: Recompute

    def policy(
        self, settings: OptimizerSettings, lora: Lora | None, *, seed: int
    ) -> Network[PolicyModel]:
        model = PolicyModel.build(
            self.architecture, self.layout, self.dtype, lora, recompute=self.recompute
        )
        model.base_dir = self.model_dir.absolute()
        weights.load(model, self.architecture, self.model_dir)
        adapters.initialize(model, seed=seed)
        return Network(model, settings, distributed=self.layout.distributed_optimizer)

    def critic(self, settings: OptimizerSettings) -> Network[CriticModel]:
        model = CriticModel.build(
            self.architecture, self.layout, self.dtype, recompute=self.recompute
        )
        weights.load(model, self.architecture, self.model_dir)
        return Network(model, settings, distributed=self.layout.distributed_optimizer)
