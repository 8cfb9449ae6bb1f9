"""A policy that does not move, beside the one that does: its weights lie on the CPU and take the model's place for a pass.

One model instance serves both, so a reference policy costs no accelerator memory, and one copy each way per use.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from trainer.learner.errors import ModelNotSupported
from trainer.megatron.architecture import Architecture
from trainer.megatron.model.policy_model import PolicyModel
from trainer.megatron.weights import weights


@dataclass(frozen=True, slots=True)
class Frozen:
    """This process's part of the weights."""

    tensors: tuple[Tensor, ...]

    @classmethod
    def read(cls, model: PolicyModel, architecture: Architecture, model_dir: Path) -> Self:
        """From a Hugging Face directory of the same architecture; the model's own weights stay as they are."""
        refuse_another_architecture(architecture, model_dir)
        present = _copies(model)
        try:
            weights.load(model, architecture, model_dir)
            return cls(_copies(model))
        finally:
            _fill(model, present)

    @contextmanager
    def in_place(self, model: PolicyModel) -> Iterator[None]:
        """The model is the frozen policy while the block runs, and bit for bit what it was afterwards."""
        present = _copies(model)
        try:
            _fill(model, self.tensors)
            yield
        finally:
            _fill(model, present)


def refuse_another_architecture(architecture: Architecture, model_dir: Path) -> None:
    """A reference gives logprobs of OUR tokens, in our model's place."""
    theirs = Architecture.read(model_dir)
    if theirs == architecture:
        return
    differences = ", ".join(
        f"{field.name} {getattr(theirs, field.name)} instead of {getattr(architecture, field.name)}"
        for field in fields(Architecture)
        if getattr(theirs, field.name) != getattr(architecture, field.name)
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
