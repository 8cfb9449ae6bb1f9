"""A random Qwen3-VL with two layers and a vision tower of two: everything an engine needs to read images, in 2 MB."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from tests.rollout.model_directory import byte_level_bpe

SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
)
HIDDEN, HEADS, KEY_VALUE_HEADS, HEAD, LAYERS = 64, 4, 2, 16, 2
SEEN, PATCH, MERGE, FRAMES, CHANNELS = 32, 16, 2, 2, 3  # of the vision tower
TOKEN_PIXELS = (PATCH * MERGE) ** 2

# As Qwen3-VL's own, without its tools.
TEMPLATE = """
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string %}
{{- message.content }}
{%- else %}
{%- for part in message.content %}
{%- if part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif 'text' in part %}{{- part.text }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def create_vision_model(directory: Path) -> Path:
    """Write tokenizer, chat template, configurations and random weights."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level_bpe(SPECIAL)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "chat_template.jinja").write_text(TEMPLATE)
    images = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": FRAMES,
        "size": {"shortest_edge": 4 * TOKEN_PIXELS, "longest_edge": 64 * TOKEN_PIXELS},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    for name, content in {
        "config.json": config(tokenizer),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
        },
        "preprocessor_config.json": images
        | {"processor_class": "Qwen3VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"},
        "video_preprocessor_config.json": images
        | {"video_processor_type": "Qwen3VLVideoProcessor"},
    }.items():
        (directory / name).write_text(json.dumps(content))
    weights = dict(random_weights(tokenizer.get_vocab_size()))
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def config(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "tie_word_embeddings": True,
        "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
        "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
        "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
        "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        "text_config": {
            "model_type": "qwen3_vl_text",
            "vocab_size": tokenizer.get_vocab_size(),
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_VALUE_HEADS,
            "head_dim": HEAD,
            "max_position_embeddings": 2048,
            "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        },
        "vision_config": {
            "model_type": "qwen3_vl_vision",
            "depth": LAYERS,
            "hidden_size": SEEN,
            "intermediate_size": 2 * SEEN,
            "num_heads": 2,
            "in_channels": CHANNELS,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": FRAMES,
            "out_hidden_size": HIDDEN,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
    }


def random_weights(vocabulary: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Matrices N(0, 1/fan_in), norms of one, no biases."""
    for name, shape in shapes(vocabulary).items():
        if name.endswith("bias"):
            yield name, np.zeros(shape, np.float32)
        elif "norm" in name:
            yield name, np.ones(shape, np.float32)
        else:
            random = np.random.default_rng(len(name) + sum(name.encode()))
            deviation = np.prod(shape[1:]) ** -0.5
            yield name, (random.standard_normal(shape) * deviation).astype(np.float32)


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    text, vision = "model.language_model", "model.visual"
    found: dict[str, tuple[int, ...]] = {
        f"{text}.embed_tokens.weight": (vocabulary, HIDDEN),
        f"{text}.norm.weight": (HIDDEN,),
        f"{vision}.patch_embed.proj.weight": (SEEN, CHANNELS, FRAMES, PATCH, PATCH),
        f"{vision}.patch_embed.proj.bias": (SEEN,),
        f"{vision}.pos_embed.weight": (64, SEEN),
        **merger(f"{vision}.merger", normed=SEEN),
        **merger(f"{vision}.deepstack_merger_list.0", normed=SEEN * MERGE**2),
    }
    for layer in range(LAYERS):
        found |= text_layer(f"{text}.layers.{layer}") | vision_block(f"{vision}.blocks.{layer}")
    return found


def text_layer(name: str) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.input_layernorm.weight": (HIDDEN,),
        f"{name}.post_attention_layernorm.weight": (HIDDEN,),
        f"{name}.self_attn.q_proj.weight": (HEADS * HEAD, HIDDEN),
        f"{name}.self_attn.k_proj.weight": (KEY_VALUE_HEADS * HEAD, HIDDEN),
        f"{name}.self_attn.v_proj.weight": (KEY_VALUE_HEADS * HEAD, HIDDEN),
        f"{name}.self_attn.o_proj.weight": (HIDDEN, HEADS * HEAD),
        f"{name}.self_attn.q_norm.weight": (HEAD,),
        f"{name}.self_attn.k_norm.weight": (HEAD,),
        f"{name}.mlp.gate_proj.weight": (2 * HIDDEN, HIDDEN),
        f"{name}.mlp.up_proj.weight": (2 * HIDDEN, HIDDEN),
        f"{name}.mlp.down_proj.weight": (HIDDEN, 2 * HIDDEN),
    }


def vision_block(name: str) -> dict[str, tuple[int, ...]]:
    return (
        affine(f"{name}.norm1", (SEEN,))
        | affine(f"{name}.norm2", (SEEN,))
        | affine(f"{name}.attn.qkv", (3 * SEEN, SEEN))
        | affine(f"{name}.attn.proj", (SEEN, SEEN))
        | affine(f"{name}.mlp.linear_fc1", (2 * SEEN, SEEN))
        | affine(f"{name}.mlp.linear_fc2", (SEEN, 2 * SEEN))
    )


def merger(name: str, *, normed: int) -> dict[str, tuple[int, ...]]:
    wide = SEEN * MERGE**2
    return (
        affine(f"{name}.norm", (normed,))
        | affine(f"{name}.linear_fc1", (wide, wide))
        | affine(f"{name}.linear_fc2", (HIDDEN, wide))
    )


def affine(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
