"""The adapters of a model: which it can have, how they start, and where they are.

They lie in the layers of `adapted_linear.py`, which `layer_spec.py` puts in the place of Megatron's.
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
    """Raise LoraNotSupported unless every projection asked for is there and can be adapted."""
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
            "TransformerEngine's layers hide the input of their projections; train adapters without it"
        )


def freeze_all_else(model: GPTModel) -> None:
    """Leave the adapters alone with a gradient, and so with room in gradient buffers and optimizer."""
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
    """A as PEFT draws it, uniform within 1 / sqrt(inputs), B zero: the adapters add nothing yet.

    Each is drawn whole from its own name, so that it is the same under every layout.
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
def silence(model: GPTModel) -> None:
    """Make the model compute what its frozen weights alone do."""
    for _, adapter in adapters(model):
        adapter.b.zero_()


def merged_weights(model: GPTModel) -> dict[Tensor, AdaptedLinear]:
    """Whom to ask for the merged weight in the place of these."""
    return {
        module.weight: module for module in model.modules() if isinstance(module, AdaptedLinear)
    }
