"""The policy: a `PackedGpt` whose head gives logprobs and entropies of the given tokens instead of logits."""

from pathlib import Path
from typing import ClassVar

import torch
from megatron.core import parallel_state
from torch import Tensor

from trainer.learner.microbatch import Microbatch
from trainer.megatron.model.logprobs import token_logprobs
from trainer.megatron.model.packed_gpt import PackedGpt


class PolicyModel(PackedGpt):
    """One pipeline stage of the policy."""

    ends_in_vocabulary: ClassVar[bool] = True
    base_dir: Path  # the directory of its first weights

    def head(self, hidden: Tensor, actions: Tensor, microbatch: Microbatch) -> Tensor:
        """[2, A]: logprobs, entropies."""
        temperatures = microbatch.temperatures
        measured = token_logprobs(
            hidden,
            self._vocabulary_rows(),
            microbatch.tokens.index_select(0, actions),
            temperatures=None if temperatures is None else temperatures.index_select(0, actions),
            first_row=self._first_row,
            group=parallel_state.get_tensor_model_parallel_group(),
        )
        return torch.stack(measured)

    def _vocabulary_rows(self) -> Tensor:
        """This rank's rows of the output weight, without those that only pad the vocabulary."""
        shared = self.share_embeddings_and_output_weights
        weight: Tensor = (
            self.shared_embedding_or_output_weight() if shared else self.output_layer.weight
        )
        return weight[: self.num_tokens_in_vocabulary - self._first_row]

    @property
    def _first_row(self) -> int:
        ranks: int = self.config.tensor_model_parallel_size
        rank: int = parallel_state.get_tensor_model_parallel_rank()
        return rank * (int(self.vocab_size) // ranks)
