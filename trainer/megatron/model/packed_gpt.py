"""A Megatron `GPTModel` over packed sequences. It ends in its last hidden states; each kind of model has its own head on them.

Heads run for sampled tokens only: the outputs of a token are computed from the hidden state of its predecessor.
"""

from abc import ABC, abstractmethod
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


class PackedGpt(GPTModel, ABC):  # type: ignore[misc]
    """One pipeline stage of a model."""

    # Whether the head is the vocabulary's, whose rows are split over tensor-parallel ranks: each then has a part of the gradient.
    ends_in_vocabulary: ClassVar[bool]
    num_tokens_in_vocabulary: int
    lora: Lora | None  # the adapters that train instead of the weights

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
        """This rank's part of the model, without its weights."""
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
        """Whether the parameter of this name is loaded from a Hugging Face directory."""
        return ".adapters." not in parameter

    @abstractmethod
    def head(self, hidden: Tensor, actions: Tensor, microbatch: Microbatch) -> Tensor:
        """[outputs, A] in float32 or better, for these tokens of the microbatch, from the states [A, H] of their predecessors."""

    def forward(self, microbatch: Microbatch) -> Tensor:
        """The next stage's input; from the last stage [outputs, T], 0 where `action_mask` is False."""
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
        # Every rank needs all tokens of a sequence for its loss, and gets the gradient of its own tokens.
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
        assert packing.branch_mask is None or platform.can_branch(), (
            "TransformerEngine supports no trees"
        )
        return packing

    def _preprocess(
        self, *args: Any, packed_seq_params: Packing, **options: Any
    ) -> tuple[Any, ...]:
        """Give our rotary kernel the rotation of each token; Megatron's table assumes positions from 0 on."""
        embedded, angles, *rest = super()._preprocess(
            *args, packed_seq_params=packed_seq_params, **options
        )
        if not platform.has_transformer_engine():
            angles = fused.rotations(angles, packed_seq_params.positions)
        if embedded is not None and self.config.recompute_granularity == "full":
            # Megatron recomputes a layer only if its input needs a gradient, which is not so with frozen embeddings.
            embedded.requires_grad_()
        return embedded, angles, *rest

    def _postprocess(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """End `GPTModel.forward` before it computes logits of every token."""
        return hidden_states

    def _measure_actions(self, hidden: Tensor, microbatch: Microbatch, packing: Packing) -> Tensor:
        """[outputs, T], also 0 where another context-parallel rank has the predecessor."""
        actions = microbatch.action_mask.nonzero().squeeze(1)  # [A]
        here, predecessors = packing.here(microbatch.predecessors.index_select(0, actions))
        actions = actions.index_select(0, here)
        states = self._gathered(hidden).squeeze(1).index_select(0, predecessors)
        outputs = self.head(states, actions, microbatch)
        whole = outputs.new_zeros(outputs.size(0), microbatch.num_tokens)
        return whole.index_copy(1, actions, outputs)

    def _gathered(self, hidden: Tensor) -> Tensor:
        """The states of all tokens of this rank's share, on every tensor-parallel rank; the backward pass sums their gradients."""
        if self.config.sequence_parallel:
            hidden = gather_from_sequence_parallel_region(
                hidden, tensor_parallel_output_grad=self.ends_in_vocabulary
            )
        elif self.ends_in_vocabulary:
            hidden = copy_to_tensor_model_parallel_region(hidden)
        return hidden

    def _mark_experts(self) -> None:
        """Give experts an optimizer of their own in every layout, so that a checkpoint of one layout fits all others.

        Megatron does so only if they are spread over processes.
        """
        for name, parameter in self.named_parameters():
            if ".local_experts." in name:
                parameter.allreduce = False

    @property
    def _token_multiple(self) -> int:
        return int(self.config.tensor_model_parallel_size) if self.config.sequence_parallel else 1
