"""A Megatron `GPTModel` in the shape of a Hugging Face model, which answers with logprobs instead of logits."""

from pathlib import Path
from typing import Any, Literal

import torch
from megatron.core import parallel_state
from megatron.core.distributed import finalize_model_grads
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
    reduce_from_tensor_model_parallel_region,
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from trainer.megatron import adapters, kernels, platform, spec
from trainer.megatron.architecture import Architecture, Experts
from trainer.megatron.errors import LayoutError
from trainer.megatron.layout import Layout
from trainer.megatron.logprobs import token_logprobs
from trainer.megatron.lora import Lora
from trainer.megatron.microbatch import Microbatch
from trainer.megatron.packing import Packing

# What the backward pass makes again instead of keeping it: nothing, what attention computes, or all of every layer.
Recompute = Literal["none", "selective", "full"]
_RECOMPUTE_OPTIONS: dict[Recompute, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]},
    "full": {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    },
}


class PolicyModel(GPTModel):  # type: ignore[misc]
    """One pipeline stage of the policy."""

    num_tokens_in_vocabulary: int
    base_dir: Path  # where its weights came from
    lora: Lora | None  # the adapters that train in the place of the weights

    def forward(self, microbatch: Microbatch) -> Tensor:
        """The next stage's input; from the last stage [2, T], logprobs above entropies, in float32 or better.

        Both speak about token t at index t and are 0 where `action_mask` is False.
        """
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
            angles = kernels.rotations(angles, packed_seq_params.positions)
        if embedded is not None and self.config.recompute_granularity == "full":
            # Megatron computes a layer again only for the gradient of its input, which beside frozen embeddings has none.
            embedded.requires_grad_()
        return embedded, angles, *rest

    def _postprocess(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Ends `GPTModel.forward` before it would make logits of every token."""
        return hidden_states

    def _measure_actions(self, hidden: Tensor, microbatch: Microbatch, packing: Packing) -> Tensor:
        """[2, T], 0 too where another context-parallel rank has the token that predicts."""
        actions = microbatch.action_mask.nonzero().squeeze(1)  # [A]
        here, predecessors = packing.here(microbatch.predecessors.index_select(0, actions))
        actions = actions.index_select(0, here)
        if self.config.sequence_parallel:
            hidden = gather_from_sequence_parallel_region(hidden)
        else:
            hidden = copy_to_tensor_model_parallel_region(hidden)
        temperatures = microbatch.temperatures
        measured = token_logprobs(
            hidden.squeeze(1).index_select(0, predecessors),
            self._vocabulary_rows(),
            microbatch.tokens.index_select(0, actions),
            temperatures=None if temperatures is None else temperatures.index_select(0, actions),
            first_row=self._first_row,
            group=parallel_state.get_tensor_model_parallel_group(),
        )
        values = torch.stack(measured)
        return values.new_zeros(2, microbatch.num_tokens).index_copy(1, actions, values)

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

    @property
    def _token_multiple(self) -> int:
        return int(self.config.tensor_model_parallel_size) if self.config.sequence_parallel else 1


def build(
    architecture: Architecture,
    layout: Layout,
    dtype: torch.dtype,
    lora: Lora | None = None,
    *,
    recompute: Recompute = "none",
) -> PolicyModel:
    """This rank's part of the model, its weights not yet loaded."""
    check_fits(architecture, layout)
    config = transformer_config(architecture, layout, dtype, recompute)
    block = spec.transformer_engine_block if platform.has_transformer_engine() else spec.local_block
    model = PolicyModel(
        config=config,
        transformer_layer_spec=block(config, lora),
        vocab_size=padded_vocabulary(architecture, layout.tensor_parallel),
        max_sequence_length=architecture.context_length,
        position_embedding_type="rope",
        share_embeddings_and_output_weights=architecture.tied_embeddings,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
    )
    model.num_tokens_in_vocabulary = architecture.vocab_size
    model.lora = lora
    model.rotary_pos_emb.inv_freq = architecture.rope_frequencies()
    model.to(device=platform.device(), dtype=dtype)
    _mark_experts(model)
    if lora is not None:
        adapters.freeze_all_else(model)
    return model


def _mark_experts(model: PolicyModel) -> None:
    """Give experts an optimizer of their own under every layout, so that a checkpoint of one fits all others.

    Megatron does so only where they are spread over processes.
    """
    for name, parameter in model.named_parameters():
        if ".local_experts." in name:
            parameter.allreduce = False


def padded_vocabulary(architecture: Architecture, tensor_parallel: int) -> int:
    return -(-architecture.vocab_size // tensor_parallel) * tensor_parallel


def transformer_config(
    architecture: Architecture, layout: Layout, dtype: torch.dtype, recompute: Recompute
) -> TransformerConfig:
    return TransformerConfig(
        num_layers=architecture.num_layers,
        hidden_size=architecture.hidden_size,
        num_attention_heads=architecture.num_heads,
        num_query_groups=architecture.num_kv_heads,
        kv_channels=architecture.head_dim,
        ffn_hidden_size=architecture.ffn_size,
        normalization="RMSNorm",
        layernorm_epsilon=architecture.norm_epsilon,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        add_qkv_bias=architecture.qkv_bias,
        qk_layernorm=architecture.qk_norm,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        tensor_model_parallel_size=layout.tensor_parallel,
        pipeline_model_parallel_size=layout.pipeline_parallel,
        context_parallel_size=layout.context_parallel,
        sequence_parallel=layout.sequence_parallel,
        params_dtype=dtype,
        **_expert_options(architecture.experts, layout),
        **_RECOMPUTE_OPTIONS[recompute],
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        # The weights come from files; Megatron marks how they are split while it "initializes" them.
        init_method=_leave,
        output_layer_init_method=_leave,
        embedding_init_method=_leave,
        use_cpu_initialization=not platform.has_cuda(),
        # Packed microbatches differ in length; Megatron ties this to the all-to-all dispatcher, also in a dense model.
        variable_seq_lengths=True,
        moe_token_dispatcher_type="alltoall",  # noqa: S106 - no password
        # The batch's weights carry the denominator: gradients are sums, and nothing divides them.
        calculate_per_token_loss=True,
        finalize_model_grads_func=lambda model, _num_tokens, **options: finalize_model_grads(
            model, None, **options
        ),
        deallocate_pipeline_outputs=True,
        apply_rope_fusion=True,
        bias_activation_fusion=True,
        # Kernels that only Apex or TransformerEngine has.
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        persist_layer_norm=False,
        bias_dropout_fusion=False,
        cuda_graph_scope=[],  # its default is deprecated
    )


def _expert_options(experts: Experts | None, layout: Layout) -> dict[str, Any]:
    """No loss balances the load of the experts, which would pull the policy away from what it sampled with; the router's
    logits have the precision of the model, as in SGLang.
    """
    if experts is None:
        return {}
    return {
        "num_moe_experts": experts.count,
        "moe_router_topk": experts.per_token,
        "moe_ffn_hidden_size": experts.ffn_size,
        # The softmax of the chosen experts alone is the softmax of all, normalized over the chosen.
        "moe_router_pre_softmax": not experts.normalized,
        "moe_router_load_balancing_type": "none",
        "moe_grouped_gemm": False,
        "expert_model_parallel_size": layout.expert_parallel,
        "expert_tensor_parallel_size": layout.expert_tensor_parallel,
    }


def _leave(weight: Tensor) -> Tensor:
    return weight


def check_fits(architecture: Architecture, layout: Layout) -> None:
    """Raise LayoutError unless the model can be spread so."""
    if layout.context_parallel > 1 and platform.has_transformer_engine():
        raise LayoutError(
            "context_parallel shares tokens in a way that TransformerEngine's attention does not know; "
            "leave it at 1, or uninstall transformer_engine"
        )
    experts = architecture.experts
    for what, count, parts in (
        ("attention heads", architecture.num_heads, layout.tensor_parallel),
        ("key-value heads", architecture.num_kv_heads, layout.tensor_parallel),
        ("feed-forward channels", architecture.ffn_size, layout.tensor_parallel),
        ("layers", architecture.num_layers, layout.pipeline_parallel),
        ("experts", experts.count if experts else 0, layout.expert_parallel),
    ):
        if count % parts:
            raise LayoutError(f"{count} {what} cannot be split evenly over {parts} ranks")
    if layout.expert_parallel > 1 and experts is None:
        raise LayoutError(
            f"{architecture.name} has no experts to share; leave expert_parallel at 1"
        )
    if experts and layout.tensor_parallel > 1 and not layout.sequence_parallel:
        raise LayoutError("a mixture of experts with tensor_parallel needs sequence_parallel too")
