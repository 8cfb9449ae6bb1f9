"""The adapters of a model under PEFT's names, whole and in PEFT's shapes.

base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight  [rank, inputs]
base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight  [outputs, rank]
"""

from collections.abc import Iterator

import torch
from megatron.core import parallel_state
from torch import Tensor

from trainer.learner.lora import Lora
from trainer.megatron.architecture import Architecture
from trainer.megatron.layers.adapted_linear import SPLIT_AXES, Adapter
from trainer.megatron.layers.adapters import adapters
from trainer.megatron.model.policy_model import PolicyModel
from trainer.megatron.weights.gather import all_gather, over_stages
from trainer.megatron.weights.hf_tensors import hf_shapes


def export(
    model: PolicyModel, architecture: Architecture, lora: Lora
) -> Iterator[tuple[str, Tensor]]:
    """(PEFT's name, whole tensor on the CPU); every rank must consume it to the end."""
    return over_stages(
        _export_stage(model),
        names=[name for projection, _ in adapters(model) for name in names(projection)],
        shapes=_shapes(architecture, lora),
        dtype=model.config.params_dtype,
    )


def names(projection: str) -> tuple[str, str]:
    """PEFT's names of A and B."""
    prefix = f"base_model.model.{projection}"
    return f"{prefix}.lora_A.weight", f"{prefix}.lora_B.weight"


def _shapes(architecture: Architecture, lora: Lora) -> dict[str, tuple[int, ...]]:
    """Every tensor of an adapter of this architecture."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in hf_shapes(architecture).items():
        projection = name.removesuffix(".weight")
        if projection.rpartition(".")[2] in lora.target_modules and name.endswith(".weight"):
            a, b = names(projection)
            shapes |= {a: (lora.rank, shape[1]), b: (shape[0], lora.rank)}
    return shapes


@torch.no_grad()
def _export_stage(model: PolicyModel) -> Iterator[tuple[str, Tensor]]:
    for projection, adapter in adapters(model):
        factors = (_whole(adapter, "a"), _whole(adapter, "b"))
        yield from zip(names(projection), factors, strict=True)


def _whole(adapter: Adapter, factor: str) -> Tensor:
    share: Tensor = getattr(adapter, factor).detach()
    if factor != adapter.split:
        return share
    group = parallel_state.get_tensor_model_parallel_group()
    return torch.cat(all_gather(share, group), dim=SPLIT_AXES[factor])
