"""The modules of a transformer layer on this machine."""

from megatron.core.extensions import transformer_engine
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig

from trainer.learner.lora import Lora
from trainer.megatron.kernels.norm import RMSNorm
from trainer.megatron.layers.adapted_linear import AdaptedColumnLinear, AdaptedRowLinear, Fusion
from trainer.megatron.layers.attention import PackedAttention


def local_block(config: TransformerConfig, lora: Lora | None) -> TransformerBlockSubmodules:
    """Megatron's own layers, with a norm and an attention that support packing."""
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
    if lora is not None:
        _adapt(layer, config, lora)
    return TransformerBlockSubmodules([layer] * get_num_layers_to_build(config), RMSNorm)


def transformer_engine_block(
    config: TransformerConfig, lora: Lora | None
) -> TransformerBlockSubmodules:
    """TransformerEngine's layers, whose attention reads cu_seqlens itself."""
    assert lora is None, "checked when the learner was made"
    layer = get_gpt_layer_with_transformer_engine_spec(
        num_experts=config.num_moe_experts,
        moe_grouped_gemm=config.moe_grouped_gemm,
        qk_layernorm=config.qk_layernorm,
    )
    layers = [layer] * get_num_layers_to_build(config)
    return TransformerBlockSubmodules(layers, transformer_engine.TENorm)


def _adapt(layer: ModuleSpec, config: TransformerConfig, lora: Lora) -> None:
    """Replace the layers that compute a target projection by adapted ones."""
    attention, feed_forward = layer.submodules.self_attention, layer.submodules.mlp
    _adapt_columns(attention, "linear_qkv", Fusion.of_attention(config), lora)
    _adapt_rows(attention, "linear_proj", "o_proj", lora)
    if feed_forward.module is MLP:
        _adapt_columns(feed_forward, "linear_fc1", Fusion.of_feed_forward(config), lora)
        _adapt_rows(feed_forward, "linear_fc2", "down_proj", lora)


def _adapt_columns(part: ModuleSpec, name: str, fusion: Fusion, lora: Lora) -> None:
    if not fusion.widths.keys().isdisjoint(lora.target_modules):
        params = {"lora": lora, "fusion": fusion}
        setattr(part.submodules, name, ModuleSpec(AdaptedColumnLinear, params))


def _adapt_rows(part: ModuleSpec, name: str, projection: str, lora: Lora) -> None:
    if projection in lora.target_modules:
        params = {"lora": lora, "projection": projection}
        setattr(part.submodules, name, ModuleSpec(AdaptedRowLinear, params))
