"""Where each parameter of the Megatron model lives in the Hugging Face model.

Megatron keeps query, key and value of one key-value group together, and gate and up projections of one tensor-parallel rank
together; everything else is a slice or a copy. The experts of a layer are shared evenly and in order by the expert-parallel ranks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from megatron.core import parallel_state
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from torch import Tensor
from torch.distributed import ProcessGroup

from trainer.megatron.architecture import Architecture
from trainer.megatron.model.packed_gpt import PackedGpt
from trainer.megatron.weights.hf_tensors import EMBEDDING


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
    expert: int | None = None  # of this rank's; EXPERT in the names is its number in the layer

    def on(self, rank: int, architecture: Architecture) -> "Slot":
        """The same slot on another expert-parallel rank; itself if it is not of an expert."""
        if self.expert is None or architecture.experts is None:
            return self
        ranks = parallel_state.get_expert_model_parallel_world_size()
        expert = rank * (architecture.experts.count // ranks) + self.expert
        names = tuple(name.replace(EXPERT, str(expert)) for name in self.names)
        return Slot(self.split, names, self.expert)

    @property
    def tensor_group(self) -> ProcessGroup:
        """The ranks that the parameter is split over."""
        group: ProcessGroup = (
            parallel_state.get_tensor_model_parallel_group()
            if self.expert is None
            else parallel_state.get_expert_tensor_parallel_group()
        )
        return group


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
# TransformerEngine fuses a norm into the linear layer after it.
_LAYER_SLOTS["self_attention.linear_qkv.layer_norm_weight"] = _LAYER_SLOTS["input_layernorm.weight"]
_LAYER_SLOTS["mlp.linear_fc1.layer_norm_weight"] = _LAYER_SLOTS["pre_mlp_layernorm.weight"]


def slots(model: PackedGpt) -> Iterator[tuple[Tensor, Slot]]:
    """This rank's weights, each with its slot."""
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


def exported_slots(model: PackedGpt) -> Iterator[tuple[Tensor, Slot]]:
    """The slots that no other pipeline stage exports."""
    for parameter, slot in slots(model):
        if model.pre_process or slot.names != (EMBEDDING,):
            yield parameter, slot
