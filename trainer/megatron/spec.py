"""Which modules a transformer layer is made of on this machine."""

from megatron.core.extensions import transformer_engine
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig

from trainer.megatron.attention import PackedAttention
from trainer.megatron.norm import RMSNorm


def local_block(config: TransformerConfig) -> TransformerBlockSubmodules:
    """Megatron's own layers, with a norm and an attention that know packing."""
    layer = get_gpt_layer_local_spec(
        num_experts=config.num_moe_experts,
        moe_grouped_gemm=config.moe_grouped_gemm,
        qk_layernorm=config.qk_layernorm,
        normalization=config.normalization,
    )
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = PackedAttention
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    return TransformerBlockSubmodules([layer] * get_num_layers_to_build(config), RMSNorm)


def transformer_engine_block(config: TransformerConfig) -> TransformerBlockSubmodules:
    """TransformerEngine's layers, whose attention reads cu_seqlens itself."""
    layer = get_gpt_layer_with_transformer_engine_spec(
        num_experts=config.num_moe_experts,
        moe_grouped_gemm=config.moe_grouped_gemm,
        qk_layernorm=config.qk_layernorm,
    )
    layers = [layer] * get_num_layers_to_build(config)
    return TransformerBlockSubmodules(layers, transformer_engine.TENorm)
