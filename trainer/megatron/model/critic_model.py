"""The critic: a `PackedGpt` started from the policy's weights, which answers with values instead of logprobs.

The value of a token is that of the state it was sampled in, before it is known. The head starts at zero, so every value does.
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
    """One pipeline stage of the critic. Of each token it answers a value."""

    ends_in_vocabulary: ClassVar[bool] = False

    def __init__(self, *, config: TransformerConfig, **options: Any) -> None:
        super().__init__(config=config, **options)
        if self.post_process:
            # In the place of the vocabulary's, which Megatron cannot be told to leave out.
            self.output_layer = ValueHead(config.hidden_size)

    def is_from_files(self, parameter: str) -> bool:
        return not parameter.startswith(f"{HEAD}.")

    def answers(self, hidden: Tensor, actions: Tensor, microbatch: Microbatch) -> Tensor:
        """[1, A]."""
        del actions, microbatch
        values: Tensor = self.output_layer(hidden)
        return values.t()


class ValueHead(nn.Module):
    """Whole on every tensor-parallel rank, which all compute the same from whole states, and so the same gradient."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor) -> Tensor:
        """[A, H] -> [A, 1]"""
        return nn.functional.linear(exact(hidden), exact(self.weight), exact(self.bias))
