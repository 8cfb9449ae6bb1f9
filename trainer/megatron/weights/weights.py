"""Hugging Face weights into the Megatron model and back, bit for bit, under any tensor, pipeline and expert layout.

Megatron keeps query, key and value of one key-value group together, and gate and up projections of one
tensor-parallel rank together; everything else is a slice or a copy. Of a layer's experts each expert-parallel
rank has as many, in order.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import torch
from megatron.core import parallel_state
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from torch import Tensor
from torch.distributed import ProcessGroup

from trainer.learner.errors import WeightsMismatch
from trainer.megatron.architecture import Architecture
from trainer.megatron.layers import adapters
from trainer.megatron.model.packed_gpt import PackedGpt
from trainer.megatron.weights.gather import all_gather, over_stages
from trainer.megatron.weights.safetensors_folder import SafetensorsFolder


class Split(Enum):
    """How a parameter is spread over tensor-parallel ranks, and what it is made of."""

    REPLICATED = "replicated"
    VOCABULARY = "vocabulary"  # by rows, padded to a multiple of the ranks
    COLUMNS = "columns"
    QKV = "qkv"  # by rows; [queries of group 0, key 0, value 0, queries of group 1, ...]
    GATE_UP = "gate_up"  # by rows; each rank has [its gate rows, its up rows]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one Megatron parameter lives in the Hugging Face model."""

    split: Split
    names: tuple[str, ...]
    expert: int | None = (
        None  # which of this rank's experts; its place in the layer is EXPERT in the names
    )

    def on(self, rank: int, architecture: Architecture) -> "Slot":
        """The same slot of another expert-parallel rank; of what is no expert, itself."""
        if self.expert is None or architecture.experts is None:
            return self
        ranks = parallel_state.get_expert_model_parallel_world_size()
        expert = rank * (architecture.experts.count // ranks) + self.expert
        names = tuple(name.replace(EXPERT, str(expert)) for name in self.names)
        return Slot(self.split, names, self.expert)


EMBEDDING = "model.embed_tokens.weight"
EXPERT = "{expert}"
_MODEL_SLOTS = {
    "embedding.word_embeddings.weight": Slot(Split.VOCABULARY, (EMBEDDING,)),
    "output_layer.weight": Slot(Split.VOCABULARY, ("lm_head.weight",)),
    "decoder.final_layernorm.weight": Slot(Split.REPLICATED, ("model.norm.weight",)),
}
_LAYER_SLOTS = {
    "input_layernorm.weight": Slot(Split.REPLICATED, ("input_layernorm.weight",)),
    "self_attention.linear_qkv.weight": Slot(
        Split.QKV,
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
    ),
    "self_attention.linear_qkv.bias": Slot(
        Split.QKV, ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias")
    ),
    "self_attention.q_layernorm.weight": Slot(Split.REPLICATED, ("self_attn.q_norm.weight",)),
    "self_attention.k_layernorm.weight": Slot(Split.REPLICATED, ("self_attn.k_norm.weight",)),
    "self_attention.linear_proj.weight": Slot(Split.COLUMNS, ("self_attn.o_proj.weight",)),
    "pre_mlp_layernorm.weight": Slot(Split.REPLICATED, ("post_attention_layernorm.weight",)),
    "mlp.linear_fc1.weight": Slot(Split.GATE_UP, ("mlp.gate_proj.weight", "mlp.up_proj.weight")),
    "mlp.linear_fc2.weight": Slot(Split.COLUMNS, ("mlp.down_proj.weight",)),
    "mlp.router.weight": Slot(Split.REPLICATED, ("mlp.gate.weight",)),
}
_EXPERT_SLOTS = {
    "linear_fc1.weight": Slot(
        Split.GATE_UP,
        (f"mlp.experts.{EXPERT}.gate_proj.weight", f"mlp.experts.{EXPERT}.up_proj.weight"),
    ),
    "linear_fc2.weight": Slot(Split.COLUMNS, (f"mlp.experts.{EXPERT}.down_proj.weight",)),
}
# TransformerEngine fuses a norm into the linear layer behind it.
_LAYER_SLOTS["self_attention.linear_qkv.layer_norm_weight"] = _LAYER_SLOTS["input_layernorm.weight"]
_LAYER_SLOTS["mlp.linear_fc1.layer_norm_weight"] = _LAYER_SLOTS["pre_mlp_layernorm.weight"]


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


@torch.no_grad()
def load(model: PackedGpt, architecture: Architecture, model_dir: Path) -> None:
    """Make this rank's part of the model that of a Hugging Face directory; nothing is copied on a mismatch."""
    own = parallel_state.get_expert_model_parallel_rank()
    with SafetensorsFolder(model_dir) as folder:
        _check_shapes(hf_shapes(architecture), folder.shapes(), model_dir)
        for parameter, slot in _slots(model):
            tensors = [folder.read(name) for name in slot.on(own, architecture).names]
            group = _tensor_group(slot)
            parameter.copy_(shard(slot.split, tensors, architecture, group.size())[group.rank()])
        adapters.silence(model)


@torch.no_grad()
def export(model: PackedGpt, architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, whole tensor on the CPU), stage by stage, adapters merged; every rank must run it to the end."""
    return over_stages(
        _export_stage(model, architecture),
        names=_exported_names(model, architecture),
        shapes=hf_shapes(architecture),
        dtype=model.config.params_dtype,
    )


def shard(
    split: Split, tensors: list[Tensor], architecture: Architecture, ranks: int
) -> list[Tensor]:
    """The parameter of each tensor-parallel rank, from the Hugging Face tensors it is made of."""
    match split:
        case Split.REPLICATED:
            return tensors * ranks
        case Split.VOCABULARY:
            missing_rows = -tensors[0].size(0) % ranks
            return list(torch.nn.functional.pad(tensors[0], (0, 0, 0, missing_rows)).chunk(ranks))
        case Split.COLUMNS:
            return list(tensors[0].chunk(ranks, dim=1))
        case Split.QKV:
            groups = [t.reshape(architecture.num_kv_heads, -1, *t.shape[1:]) for t in tensors]
            return list(torch.cat(groups, dim=1).flatten(0, 1).chunk(ranks))
        case Split.GATE_UP:
            gates, ups = (t.chunk(ranks) for t in tensors)
            return [torch.cat(pair) for pair in zip(gates, ups, strict=True)]


def unshard(split: Split, shards: list[Tensor], architecture: Architecture) -> list[Tensor]:
    """The inverse of `shard`."""
    match split:
        case Split.REPLICATED:
            return shards[:1]
        case Split.VOCABULARY:
            return [torch.cat(shards)[: architecture.vocab_size]]
        case Split.COLUMNS:
            return [torch.cat(shards, dim=1)]
        case Split.QKV:
            width = architecture.head_dim
            queries = architecture.num_heads // architecture.num_kv_heads * width
            whole = torch.cat(shards)
            groups = whole.reshape(architecture.num_kv_heads, -1, *whole.shape[1:])
            parts = torch.split(groups, [queries, width, width], dim=1)
            return [part.flatten(0, 1) for part in parts]
        case Split.GATE_UP:
            gates, ups = zip(*(s.chunk(2) for s in shards), strict=True)
            return [torch.cat(gates), torch.cat(ups)]


def _slots(model: PackedGpt) -> Iterator[tuple[Tensor, Slot]]:
    """This rank's weights, each with where its content comes from."""
    first_layer = get_transformer_layer_offset(model.config)
    for name, parameter in model.named_parameters():
        if not model.is_from_files(name):
            continue
        if _is_copied_embedding(name, model):
            yield parameter, _MODEL_SLOTS["embedding.word_embeddings.weight"]
        elif name in _MODEL_SLOTS:
            yield parameter, _MODEL_SLOTS[name]
        else:
            yield parameter, _layer_slot(name, first_layer)


def _is_copied_embedding(name: str, model: PackedGpt) -> bool:
    """The last of several pipeline stages has a copy of tied embeddings of its own."""
    return name == "output_layer.weight" and model.share_embeddings_and_output_weights


def _layer_slot(name: str, first_layer: int) -> Slot:
    match = re.fullmatch(
        r"decoder\.layers\.(\d+)\.(?:mlp\.experts\.local_experts\.(\d+)\.)?(.+)", name
    )
    assert match is not None, name
    layer, expert, part = match.groups()
    slot = _LAYER_SLOTS[part] if expert is None else _EXPERT_SLOTS[part]
    names = tuple(f"model.layers.{first_layer + int(layer)}.{hf_name}" for hf_name in slot.names)
    return Slot(slot.split, names, None if expert is None else int(expert))


def _check_shapes(
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


def _export_stage(model: PackedGpt, architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    adapted = adapters.merged_weights(model)
    for parameter, slot in _own_slots(model):
        owner = adapted.get(parameter)
        weight = parameter.detach() if owner is None else owner.merged_weight()
        for rank, part in _over_expert_ranks(weight, slot):
            shards = _gather(part, slot)
            names = slot.on(rank, architecture).names
            yield from zip(names, unshard(slot.split, shards, architecture), strict=True)


def _own_slots(model: PackedGpt) -> Iterator[tuple[Tensor, Slot]]:
    """The slots that no other pipeline stage exports."""
    for parameter, slot in _slots(model):
        if model.pre_process or slot.names != (EMBEDDING,):
            yield parameter, slot


def _gather(parameter: Tensor, slot: Slot) -> list[Tensor]:
    """The shards of all tensor-parallel ranks."""
    group = _tensor_group(slot)
    return [parameter] if slot.split is Split.REPLICATED else all_gather(parameter, group)


def _over_expert_ranks(parameter: Tensor, slot: Slot) -> Iterator[tuple[int, Tensor]]:
    """The parameter that each expert-parallel rank has in this slot; one, where all have the same."""
    if slot.expert is None:
        return iter([(0, parameter)])
    return iter(enumerate(all_gather(parameter, parallel_state.get_expert_model_parallel_group())))


def _tensor_group(slot: Slot) -> ProcessGroup:
    """The ranks that a parameter is split over."""
    group: ProcessGroup = (
        parallel_state.get_tensor_model_parallel_group()
        if slot.expert is None
        else parallel_state.get_expert_tensor_parallel_group()
    )
    return group


def _exported_names(model: PackedGpt, architecture: Architecture) -> list[str]:
    """What `_export_stage` yields, in its order."""
    ranks = parallel_state.get_expert_model_parallel_world_size()
    return [
        name
        for _, slot in _own_slots(model)
        for rank in range(1 if slot.expert is None else ranks)
        for name in slot.on(rank, architecture).names
    ]
