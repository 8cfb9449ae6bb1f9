"""A packed Megatron `GPTModel` up to its last hidden state, of which each kind of model reads what it answers about a token.

Nothing is computed for tokens that were not sampled: an answer about a token is read where it is predicted, at its predecessor.
"""

from typing import Any, ClassVar, Self

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
    reduce_from_tensor_model_parallel_region,
)
from torch import Tensor

from trainer.learner.layout import Layout
from trainer.learner.learner import Recompute
from trainer.learner.lora import Lora
from trainer.learner.microbatch import Microbatch
from trainer.megatron import platform
from trainer.megatron.architecture import Architecture
from trainer.megatron.configuration import (
    check_fits,
    padded_vocabulary,
    transformer_config,
)
from trainer.megatron.kernels import fused
from trainer.megatron.layers import adapters
from trainer.megatron.layers.packing import Packing
from trainer.megatron.model import layer_spec


class PackedGpt(GPTModel):  # type: ignore[misc]
    """One pipeline stage of a model."""

    # Whether it answers over the vocabulary, whose rows tensor-parallel ranks share; then each has a part of the gradient.
    ends_in_vocabulary: ClassVar[bool]
    num_tokens_in_vocabulary: int
    lora: Lora | None  # the adapters that train in the place of the weights

    @classmethod
    def build(
        cls,
        architecture: Architecture,
        layout: Layout,
        dtype: torch.dtype,
        lora: Lora | None = None,
        *,
        recompute: Recompute = "none",
    ) -> Self:
        """This rank's part of the model, its weights not yet loaded."""
        check_fits(architecture, layout)
        config = transformer_config(architecture, layout, dtype, recompute)
        with_engine = platform.has_transformer_engine()
        block = layer_spec.transformer_engine_block if with_engine else layer_spec.local_block
        model = cls(
            config=config,
            transformer_layer_spec=block(config, lora),
            vocab_size=padded_vocabulary(architecture, layout.tensor_parallel),
            max_sequence_length=architecture.context_length,
            position_embedding_type="rope",
            share_embeddings_and_output_weights=architecture.tied_embeddings
            and cls.ends_in_vocabulary,
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
        )
        model.num_tokens_in_vocabulary = architecture.vocab_size
        model.lora = lora
        model.rotary_pos_emb.inv_freq = architecture.rope_frequencies()
        model.to(device=platform.device(), dtype=dtype)
        model._mark_experts()
        if lora is not None:
            adapters.freeze_all_else(model)
        return model

    def is_from_files(self, parameter: str) -> bool:
        """Whether a Hugging Face directory has what a parameter of this name holds."""
        return ".adapters." not in parameter

    def answers(self, hidden: Tensor, actions: Tensor, microbatch: Microbatch) -> Tensor:
        """[kinds, A] in float32 or better, about these tokens of the microbatch, from the states [A, H] before them."""
        raise NotImplementedError

    def forward(self, microbatch: Microbatch) -> Tensor:
        """The next stage's input; from the last stage [kinds, T], 0 where `action_mask` is False."""
        packing = self._packing(microbatch)
        hidden: Tensor = super().forward(
            input_ids=microbatch.tokens.index_select(0, packing.tokens).unsqueeze(0),
            position_ids=None,
            attention_mask=None,
            packed_seq_params=packing,
        )
        if not self.post_process:
            return hidden
        measured = self._measure_actions(hidden, microbatch, packing)
        # Every rank needs all of a sequence for its loss, and has the gradient of its own tokens.
        everywhere: Tensor = reduce_from_tensor_model_parallel_region(
            measured, group=parallel_state.get_context_parallel_group()
        )
        return everywhere

    def _packing(self, microbatch: Microbatch) -> Packing:
        packing = Packing.of(
            microbatch,
            multiple=self._token_multiple,
            queries_per_key=self.config.num_attention_heads // self.config.num_query_groups,
            dtype=self.config.params_dtype,
            rank=parallel_state.get_context_parallel_rank(),
            ranks=parallel_state.get_context_parallel_world_size(),
        )
        assert packing.horizon is None or platform.can_branch(), "TransformerEngine knows no trees"
        return packing

    def _preprocess(
        self, *args: Any, packed_seq_params: Packing, **options: Any
    ) -> tuple[Any, ...]:
        """Gives our rotary kernel each token's rotation, where Megatron has a table for positions from 0 on."""
        embedded, angles, *rest = super()._preprocess(
            *args, packed_seq_params=packed_seq_params, **options
        )
        if not platform.has_transformer_engine():
            angles = fused.rotations(angles, packed_seq_params.positions)
        if embedded is not None and self.config.recompute_granularity == "full":
            # Megatron computes a layer again only for the gradient of its input, which beside frozen embeddings has none.
            embedded.requires_grad_()
        return embedded, angles, *rest

    def _postprocess(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Ends `GPTModel.forward` before it would make logits of every token."""
        return hidden_states

    def _measure_actions(self, hidden: Tensor, microbatch: Microbatch, packing: Packing) -> Tensor:
        """[kinds, T], 0 too where another context-parallel rank has the token that predicts."""
        actions = microbatch.action_mask.nonzero().squeeze(1)  # [A]
        here, predecessors = packing.here(microbatch.predecessors.index_select(0, actions))
        actions = actions.index_select(0, here)
        before = self._whole(hidden).squeeze(1).index_select(0, predecessors)
        answers = self.answers(before, actions, microbatch)
        whole = answers.new_zeros(answers.size(0), microbatch.num_tokens)
        return whole.index_copy(1, actions, answers)

    def _whole(self, hidden: Tensor) -> Tensor:
        """The states of all tokens here on every tensor-parallel rank; parts of their gradient are added up on the way back."""
        if self.config.sequence_parallel:
            hidden = gather_from_sequence_parallel_region(
                hidden, tensor_parallel_output_grad=self.ends_in_vocabulary
            )
        elif self.ends_in_vocabulary:
            hidden = copy_to_tensor_model_parallel_region(hidden)
        return hidden

    def _mark_experts(self) -> None:
        """Give experts an optimizer of their own under every layout, so that a checkpoint of one fits all others.

        Megatron does so only where they are spread over processes.
        """
        for name, parameter in self.named_parameters():
            if ".local_experts." in name:
                parameter.allreduce = False

    @property
    def _token_multiple(self) -> int:
        return int(self.config.tensor_model_parallel_size) if self.config.sequence_parallel else 1
