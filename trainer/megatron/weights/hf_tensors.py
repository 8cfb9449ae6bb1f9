"""The tensors that a Hugging Face directory of an architecture holds, and their shapes."""

from pathlib import Path

from trainer.learner.errors import WeightsMismatch
from trainer.megatron.architecture import Architecture

EMBEDDING = "model.embed_tokens.weight"


def hf_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Every tensor that a Hugging Face directory of this architecture holds."""
    a = architecture
    query, key = a.num_heads * a.head_dim, a.num_kv_heads * a.head_dim
    layer = {
        "input_layernorm.weight": (a.hidden_size,),
        "self_attn.q_proj.weight": (query, a.hidden_size),
        "self_attn.k_proj.weight": (key, a.hidden_size),
        "self_attn.v_proj.weight": (key, a.hidden_size),
        "self_attn.o_proj.weight": (a.hidden_size, query),
        "post_attention_layernorm.weight": (a.hidden_size,),
        **_feed_forward_shapes(a),
    }
    if a.qkv_bias:
        layer |= {f"self_attn.{x}_proj.bias": (query if x == "q" else key,) for x in "qkv"}
    if a.qk_norm:
        layer |= {f"self_attn.{x}_norm.weight": (a.head_dim,) for x in "qk"}
    shapes = {EMBEDDING: (a.vocab_size, a.hidden_size), "model.norm.weight": (a.hidden_size,)}
    for index in range(a.num_layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    if not a.tied_embeddings:
        shapes["lm_head.weight"] = (a.vocab_size, a.hidden_size)
    return shapes


def _feed_forward_shapes(a: Architecture) -> dict[str, tuple[int, ...]]:
    if a.experts is None:
        return _gated_shapes("mlp.", a.hidden_size, a.ffn_size)
    shapes: dict[str, tuple[int, ...]] = {"mlp.gate.weight": (a.experts.count, a.hidden_size)}
    for expert in range(a.experts.count):
        shapes |= _gated_shapes(f"mlp.experts.{expert}.", a.hidden_size, a.experts.ffn_size)
    return shapes


def _gated_shapes(prefix: str, hidden: int, ffn: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}gate_proj.weight": (ffn, hidden),
        f"{prefix}up_proj.weight": (ffn, hidden),
        f"{prefix}down_proj.weight": (hidden, ffn),
    }


def check_shapes(
    expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], model_dir: Path
) -> None:
    # Old exports carry RoPE's frequencies, and tied models may carry the head a second time.
    derived = {name for name in found if name.endswith("rotary_emb.inv_freq")}
    if "lm_head.weight" not in expected:
        derived.add("lm_head.weight")
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys() - derived),
        "of another shape": [
            f"{name} {found[name]} instead of {shape}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    }
    for problem, names in problems.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise WeightsMismatch(f"{model_dir}: {problem}: {', '.join(names[:3])}{more}")
