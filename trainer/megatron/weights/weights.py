"""Hugging Face weights into the Megatron model and back, bit for bit, under any tensor, pipeline and expert layout."""

from collections.abc import Iterator
from pathlib import Path

import torch
from megatron.core import parallel_state
from torch import Tensor

from trainer.megatron.architecture import Architecture
from trainer.megatron.layers import adapters
from trainer.megatron.model.packed_gpt import PackedGpt
from trainer.megatron.weights.gather import all_gather, over_stages
from trainer.megatron.weights.hf_tensors import check_shapes, hf_shapes
from trainer.megatron.weights.safetensors_folder import SafetensorsFolder
from trainer.megatron.weights.slots import Slot, Split, exported_slots, slots


@torch.no_grad()
def load(model: PackedGpt, architecture: Architecture, model_dir: Path) -> None:
    """Load this rank's part of a Hugging Face directory into the model; WeightsMismatch before anything is copied."""
    own = parallel_state.get_expert_model_parallel_rank()
    with SafetensorsFolder(model_dir) as folder:
        check_shapes(hf_shapes(architecture), folder.shapes(), model_dir)
        for parameter, slot in slots(model):
            tensors = [folder.read(name) for name in slot.on(own, architecture).names]
            group = slot.tensor_group
            parameter.copy_(shard(slot.split, tensors, architecture, group.size())[group.rank()])
        adapters.set_to_zero(model)


@torch.no_grad()
def export(model: PackedGpt, architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    """(Hugging Face name, whole tensor on the CPU), stage by stage, adapters merged; every rank must consume it to the end."""
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


def _export_stage(model: PackedGpt, architecture: Architecture) -> Iterator[tuple[str, Tensor]]:
    adapted = adapters.merged_weights(model)
    for parameter, slot in exported_slots(model):
        owner = adapted.get(parameter)
        weight = parameter.detach() if owner is None else owner.merged_weight()
        for rank, part in _over_expert_ranks(weight, slot):
            shards = _gather(part, slot)
            names = slot.on(rank, architecture).names
            yield from zip(names, unshard(slot.split, shards, architecture), strict=True)


def _gather(parameter: Tensor, slot: Slot) -> list[Tensor]:
    """The shards of all tensor-parallel ranks."""
    group = slot.tensor_group
    return [parameter] if slot.split is Split.REPLICATED else all_gather(parameter, group)


def _over_expert_ranks(parameter: Tensor, slot: Slot) -> Iterator[tuple[int, Tensor]]:
    """The parameter of each expert-parallel rank in this slot; one if all have the same."""
    if slot.expert is None:
        return iter([(0, parameter)])
    return iter(enumerate(all_gather(parameter, parallel_state.get_expert_model_parallel_group())))


def _exported_names(model: PackedGpt, architecture: Architecture) -> list[str]:
    """The names that `_export_stage` yields, in its order."""
    ranks = parallel_state.get_expert_model_parallel_world_size()
    return [
        name
        for _, slot in exported_slots(model)
        for rank in range(1 if slot.expert is None else ranks)
        for name in slot.on(rank, architecture).names
    ]
