"""The adapters of a model: which ones are supported, their initial values, and where they are.

They are in the layers of `adapted_linear.py`, by which `layer_spec.py` replaces Megatron's.
"""

import math
import zlib
from collections.abc import Iterator

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from torch import Tensor

from trainer.learner.errors import LoraNotSupported
from trainer.learner.lora import PROJECTIONS, Lora
from trainer.megatron import platform
from trainer.megatron.architecture import Architecture
from trainer.megatron.layers.adapted_linear import AdaptedLinear, Adapter, by_projection

IN_EXPERTS = frozenset({"gate_proj", "up_proj", "down_proj"})


def check_supported(lora: Lora, architecture: Architecture) -> None:
    """Raise LoraNotSupported unless the model has every target projection and it can have an adapter."""
    known = ", ".join(PROJECTIONS)
    unknown = [name for name in lora.target_modules if name not in PROJECTIONS]
    if unknown:
        raise LoraNotSupported(f"no projection is called {unknown[0]!r}; choose from {known}")
    if not lora.target_modules or lora.rank < 1:
        raise LoraNotSupported(
            f"adapters need a rank of 1 or more and a projection to adapt; choose from {known}"
        )
    in_experts = sorted(IN_EXPERTS.intersection(lora.target_modules))
    if architecture.experts is not None and in_experts:
        raise LoraNotSupported(
            f"{architecture.name}: {in_experts[0]} belongs to experts, which have no adapters; "
            "leave gate_proj, up_proj and down_proj out"
        )
    if platform.has_transformer_engine():
        raise LoraNotSupported(
            "adapters are not supported with TransformerEngine, whose layers hide the input of projections; uninstall transformer_engine"
        )


def freeze_all_else(model: GPTModel) -> None:
    """Give only the adapters a gradient, and so memory in gradient buffers and optimizer."""
    model.requires_grad_(False)
    for _, adapter in adapters(model):
        adapter.requires_grad_(True)


def adapters(model: GPTModel) -> Iterator[tuple[str, Adapter]]:
    """(Hugging Face name of the projection, its adapter) of this pipeline stage."""
    first = get_transformer_layer_offset(model.config)
    for index, layer in enumerate(model.decoder.layers, start=first):
        for place, part in (("self_attn", layer.self_attention), ("mlp", layer.mlp)):
            for linear_layer in part.children():
                if isinstance(linear_layer, AdaptedLinear):
                    for name, adapter in by_projection(linear_layer).items():
                        yield f"model.layers.{index}.{place}.{name}", adapter


@torch.no_grad()
def initialize(model: GPTModel, *, seed: int) -> None:
    """A as in PEFT, uniform within 1 / sqrt(inputs), and B zero: the adapters add nothing at first.

    Each is drawn whole, seeded by its name, so that it is the same in every layout.
    """
    group = parallel_state.get_tensor_model_parallel_group()
    for name, adapter in adapters(model):
        share = adapter.a.size(1)
        size = share * group.size() if adapter.split == "a" else share
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        bound = 1 / math.sqrt(size)
        whole = torch.empty(adapter.a.size(0), size).uniform_(-bound, bound, generator=generator)
        first = share * group.rank() if adapter.split == "a" else 0
        adapter.a.copy_(whole[:, first : first + share])
        adapter.b.zero_()


@torch.no_grad()
def set_to_zero(model: GPTModel) -> None:
    """Make the model compute what its weights compute without adapters."""
    for _, adapter in adapters(model):
        adapter.b.zero_()


def merged_weights(model: GPTModel) -> dict[Tensor, AdaptedLinear]:
    """The layer of each adapted weight, which computes the merged weight."""
    return {
        module.weight: module for module in model.modules() if isinstance(module, AdaptedLinear)
    }
