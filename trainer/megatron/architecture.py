"""A model's config.json, read strictly: an option that is not implemented is refused, not ignored."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.learner.errors import ModelNotSupported


@dataclass(frozen=True, slots=True)
class Llama3Rope:
    """The frequency scaling of Llama 3.1 and later."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_context_length: int

    def scale(self, frequencies: Tensor) -> Tensor:
        """Keep short wavelengths, divide long ones by `factor`, interpolate between."""
        wavelengths = 2 * math.pi / frequencies
        turns = self.original_context_length / wavelengths
        span = self.high_frequency_factor - self.low_frequency_factor
        keep = ((turns - self.low_frequency_factor) / span).clamp(0, 1)
        return (1 - keep) * frequencies / self.factor + keep * frequencies


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixture of experts in the feed-forward part of every layer."""

    count: int
    per_token: int
    ffn_size: int
    normalized: bool  # the weights of a token's experts add up to 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder of the Llama family, dense or with a mixture of experts in every layer."""

    name: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_size: int
    vocab_size: int
    context_length: int
    norm_epsilon: float
    rope_theta: float
    rope_scaling: Llama3Rope | None
    tied_embeddings: bool
    qk_norm: bool
    qkv_bias: bool
    experts: Experts | None

    @classmethod
    def read(cls, model_dir: Path) -> "Architecture":
        path = model_dir / "config.json"
        try:
            config = json.loads(path.read_text())
        except FileNotFoundError:
            raise ModelNotSupported(
                f"{path} does not exist; give a Hugging Face model directory"
            ) from None
        except json.JSONDecodeError as error:
            raise ModelNotSupported(f"{path} is not JSON: {error}") from None
        return cls.from_config(config)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Architecture":
        name = (config.get("architectures") or ["unnamed"])[0]
        if name not in _FAMILIES:
            known = ", ".join(sorted(_FAMILIES))
            raise ModelNotSupported(f"no weight map for architecture {name!r}; supported: {known}")
        _refuse_unmapped_options(name, config)
        rope = _rope_parameters(config)
        try:
            heads = config["num_attention_heads"]
            return cls(
                name=name,
                num_layers=config["num_hidden_layers"],
                hidden_size=config["hidden_size"],
                num_heads=heads,
                num_kv_heads=config.get("num_key_value_heads") or heads,
                head_dim=config.get("head_dim") or config["hidden_size"] // heads,
                ffn_size=config["intermediate_size"],
                vocab_size=config["vocab_size"],
                context_length=config["max_position_embeddings"],
                norm_epsilon=config["rms_norm_eps"],
                rope_theta=rope["rope_theta"],
                rope_scaling=_rope_scaling(name, rope),
                tied_embeddings=config.get("tie_word_embeddings", False),
                qk_norm=_FAMILIES[name].qk_norm,
                qkv_bias=_FAMILIES[name].qkv_bias,
                experts=_experts(name, config) if _FAMILIES[name].has_experts else None,
            )
        except KeyError as error:
            raise ModelNotSupported(f"{name}: config.json has no {error.args[0]!r}") from None

    def rope_frequencies(self) -> Tensor:
        """Radians per position of each pair of channels, float32 [head_dim / 2]."""
        exponents = torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        frequencies = 1.0 / self.rope_theta**exponents
        return frequencies if self.rope_scaling is None else self.rope_scaling.scale(frequencies)


@dataclass(frozen=True, slots=True)
class _Family:
    qk_norm: bool = False
    qkv_bias: bool = False
    has_experts: bool = False


_FAMILIES = {
    "LlamaForCausalLM": _Family(),
    "Qwen2ForCausalLM": _Family(qkv_bias=True),
    "Qwen3ForCausalLM": _Family(qk_norm=True),
    "Qwen3MoeForCausalLM": _Family(qk_norm=True, has_experts=True),
}


def _refuse_unmapped_options(name: str, config: dict[str, Any]) -> None:
    unmapped = {
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "use_sliding_window": bool(config.get("use_sliding_window")),
        "quantization_config": config.get("quantization_config") is not None,
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "partial_rotary_factor": config.get("partial_rotary_factor", 1.0) != 1.0,
        "mlp_only_layers": bool(config.get("mlp_only_layers")),
        "decoder_sparse_step": config.get("decoder_sparse_step", 1) != 1,
    }
    for option, used in unmapped.items():
        if used:
            raise ModelNotSupported(f"{name}: no map for {option} = {config[option]!r}")


def _experts(name: str, config: dict[str, Any]) -> Experts:
    """Release 5 of transformers counts `num_local_experts`, earlier releases `num_experts`."""
    count = config.get("num_local_experts") or config["num_experts"]
    per_token: int = config["num_experts_per_tok"]
    if not 1 <= per_token <= count:
        raise ModelNotSupported(f"{name}: num_experts_per_tok = {per_token} of {count} experts")
    normalized = config.get("norm_topk_prob", False)
    return Experts(count, per_token, config["moe_intermediate_size"], normalized)


def _rope_parameters(config: dict[str, Any]) -> dict[str, Any]:
    """Release 5 of transformers writes one `rope_parameters`; earlier releases `rope_theta` and `rope_scaling`."""
    legacy = {"rope_theta": config["rope_theta"]} if "rope_theta" in config else {}
    scaling = config.get("rope_scaling") or {}
    return legacy | scaling | (config.get("rope_parameters") or {})


def _rope_scaling(name: str, rope: dict[str, Any]) -> Llama3Rope | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise ModelNotSupported(
            f"{name}: no map for rope type {kind!r}; supported: default, llama3"
        )
    return Llama3Rope(
        factor=rope["factor"],
        low_frequency_factor=rope["low_freq_factor"],
        high_frequency_factor=rope["high_freq_factor"],
        original_context_length=rope["original_max_position_embeddings"],
    )
