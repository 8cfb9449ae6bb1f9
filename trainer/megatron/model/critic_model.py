"""The critic: a `PackedGpt` that starts from the policy's weights and whose head gives values.

The value of a token is that of the state before it. The head starts at zero, so every value does.
"""

from typing import Any, ClassVar

import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from trainer.learner.microbatch import Microbatch
from trainer.megatron.kernels.precision import exact
from trainer.megatron.model.packed_gpt import PackedGpt

HEAD = "output_layer"


class CriticModel(PackedGpt):
    """One pipeline stage of the critic."""

    ends_in_vocabulary: ClassVar[bool] = False

    def __init__(self, *, config: TransformerConfig, **options: Any) -> None:
        super().__init__(config=config, **options)
        if self.post_process:
            # Replaces the vocabulary's head, which Megatron always makes.
            self.output_layer = ValueHead(config.hidden_size)

    def is_from_files(self, parameter: str) -> bool:
        return not parameter.startswith(f"{HEAD}.")

    def head(self, hidden: Tensor, actions: Tensor, microbatch: Microbatch) -> Tensor:
        """[1, A]."""
        del actions, microbatch
        values: Tensor = self.output_layer(hidden)
        return values.t()


class ValueHead(nn.Module):
    """The same on every tensor-parallel rank: all compute the same values and gradients from the same states."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor) -> Tensor:
        """[A, H] -> [A, 1]"""
        return nn.functional.linear(exact(hidden), exact(self.weight), exact(self.bias))
