"""A policy that does not train: its weights lie on the CPU and replace the model's own during a forward pass.

One model instance serves both policies. A reference policy therefore costs no accelerator memory, and one copy in each direction per use.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from trainer.learner.errors import ModelNotSupported
from trainer.learner.microbatch import TrainBatch
from trainer.megatron.architecture import Architecture
from trainer.megatron.model.network import Network
from trainer.megatron.model.policy_model import PolicyModel
from trainer.megatron.weights import weights


@dataclass(frozen=True, slots=True)
class MegatronFrozenPolicy:
    """This process's part of the weights."""

    network: Network[PolicyModel]  # the policy that trains
    tensors: tuple[Tensor, ...]

    @classmethod
    def read(
        cls, network: Network[PolicyModel], architecture: Architecture, model_dir: Path
    ) -> Self:
        """From a Hugging Face directory of the same architecture; the model's own weights stay as they are."""
        refuse_another_architecture(architecture, model_dir)
        model = network.model
        present = _copies(model)
        try:
            weights.load(model, architecture, model_dir)
            return cls(network, _copies(model))
        finally:
            _fill(model, present)

    def logprobs(self, batch: TrainBatch) -> list[Tensor]:
        model = self.network.model
        present = _copies(model)
        try:
            _fill(model, self.tensors)
            return self.network.measure(batch)
        finally:
            _fill(model, present)


def refuse_another_architecture(architecture: Architecture, model_dir: Path) -> None:
    """A reference policy reads the tokens of the trained one and takes its place in memory."""
    reference = Architecture.read(model_dir)
    if reference == architecture:
        return
    differences = ", ".join(
        f"{field.name} {getattr(reference, field.name)} instead of {getattr(architecture, field.name)}"
        for field in fields(Architecture)
        if getattr(reference, field.name) != getattr(architecture, field.name)
    )
    raise ModelNotSupported(
        f"{model_dir} cannot be the reference policy: {differences}; name a model of the trained one's shape and vocabulary"
    )


@torch.no_grad()
def _copies(model: PolicyModel) -> tuple[Tensor, ...]:
    return tuple(parameter.to("cpu", copy=True) for parameter in model.parameters())


@torch.no_grad()
def _fill(model: PolicyModel, tensors: tuple[Tensor, ...]) -> None:
    for parameter, tensor in zip(model.parameters(), tensors, strict=True):
        parameter.copy_(tensor)
