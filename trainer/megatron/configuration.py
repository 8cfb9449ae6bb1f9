"""Megatron's configuration for an architecture in a layout, and a check that the two fit."""

from typing import Any

import torch
from megatron.core.distributed import finalize_model_grads
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from trainer.learner.errors import LayoutError
from trainer.learner.layout import Layout
from trainer.learner.learner import Recompute
from trainer.megatron import platform
from trainer.megatron.architecture import Architecture, Experts

_RECOMPUTE_OPTIONS: dict[Recompute, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]},
    "full": {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    },
}


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
        # The weights come from files, but Megatron marks how they are split during initialization.
        init_method=_unchanged,
        output_layer_init_method=_unchanged,
        embedding_init_method=_unchanged,
        use_cpu_initialization=not platform.has_cuda(),
        # Packed microbatches differ in length; Megatron ties this to the all-to-all dispatcher, also in a dense model.
        variable_seq_lengths=True,
        moe_token_dispatcher_type="alltoall",  # noqa: S106 - no password
        # The batch's weights contain the denominator: gradients are sums and must not be divided.
        calculate_per_token_loss=True,
        finalize_model_grads_func=lambda model, _num_tokens, **options: finalize_model_grads(
            model, None, **options
        ),
        deallocate_pipeline_outputs=True,
        apply_rope_fusion=True,
        bias_activation_fusion=True,
        # Kernels of Apex and TransformerEngine only.
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        persist_layer_norm=False,
        bias_dropout_fusion=False,
        cuda_graph_scope=[],  # its default is deprecated
    )


def _expert_options(experts: Experts | None, layout: Layout) -> dict[str, Any]:
    """There is no load-balancing loss: it would move the policy away from the one that sampled. The router's logits have the
    precision of the model, as in SGLang.
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


def _unchanged(weight: Tensor) -> Tensor:
    return weight


def check_fits(architecture: Architecture, layout: Layout) -> None:
    """Raise LayoutError if the model cannot be spread in this layout."""
    if layout.context_parallel > 1 and platform.has_transformer_engine():
        raise LayoutError(
            "context_parallel splits sequences in a way that TransformerEngine's attention does not support; "
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
