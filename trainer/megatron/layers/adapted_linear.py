"""Linear layers of Megatron with low-rank adapters beside their frozen weights.

One factor is split over tensor-parallel ranks like the weight: B with the rows of a column-parallel weight, A with the columns
of a row-parallel one. The other factor is whole on every rank. Ranks exchange `rank` channels only.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from megatron.core.tensor_parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
    get_cuda_rng_tracker,
    get_data_parallel_rng_tracker_name,
    reduce_from_tensor_model_parallel_region,
    reduce_scatter_to_sequence_parallel_region,
)
from megatron.core.tensor_parallel.layers import set_tensor_model_parallel_attributes
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint
from torch import Tensor
from torch.nn.functional import dropout, linear

from trainer.learner.lora import Lora
from trainer.megatron.kernels.precision import exact

SPLIT_AXES = {"a": 1, "b": 0}


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a column-parallel product holds several projections: in groups, each with `widths` channels of each one, in order."""

    groups: int
    widths: Mapping[str, int]

    @classmethod
    def of_attention(cls, config: TransformerConfig) -> "Fusion":
        key = config.kv_channels
        query = config.num_attention_heads // config.num_query_groups * key
        groups = config.num_query_groups // config.tensor_model_parallel_size
        return cls(groups, {"q_proj": query, "k_proj": key, "v_proj": key})

    @classmethod
    def of_feed_forward(cls, config: TransformerConfig) -> "Fusion":
        width = config.ffn_hidden_size // config.tensor_model_parallel_size
        return cls(1, {"gate_proj": width, "up_proj": width})

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """[..., channels of one] each -> [..., channels of all], zeros where a projection is missing."""
        some = next(iter(parts.values()))
        blocks = [
            parts[name].reshape(*some.shape[:-1], self.groups, width)
            if name in parts
            else some.new_zeros(*some.shape[:-1], self.groups, width)
            for name, width in self.widths.items()
        ]
        return torch.cat(blocks, dim=-1).flatten(-2)


class Adapter(torch.nn.Module):
    """The factors of one projection, or this rank's shares of them."""

    def __init__(
        self, input_size: int, output_size: int, *, split: str, rank: int, config: TransformerConfig
    ) -> None:
        super().__init__()
        self.split = split  # the factor that is spread over ranks
        self.a = torch.nn.Parameter(torch.zeros(rank, input_size, dtype=config.params_dtype))
        self.b = torch.nn.Parameter(torch.zeros(output_size, rank, dtype=config.params_dtype))
        for name, factor in (("a", self.a), ("b", self.b)):
            if name == split:
                set_tensor_model_parallel_attributes(factor, True, SPLIT_AXES[name], 1)
            else:
                # Each rank has a part of the tokens only; Megatron sums their gradients.
                factor.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    @property
    def product(self) -> Tensor:
        """B A, in float32 or better."""
        return exact(self.b) @ exact(self.a)


class AdaptedColumnLinear(ColumnParallelLinear):  # type: ignore[misc]
    """Several projections in one product, with adapters for the targets among them."""

    def __init__(
        self, input_size: int, output_size: int, *, lora: Lora, fusion: Fusion, **options: Any
    ) -> None:
        super().__init__(input_size, output_size, **options)
        self.lora, self._fusion = lora, fusion
        self.adapters = torch.nn.ModuleDict(
            {
                name: Adapter(
                    input_size,
                    fusion.groups * width,
                    split="b",
                    rank=lora.rank,
                    config=self.config,
                )
                for name, width in fusion.widths.items()
                if name in lora.target_modules
            }
        )

    def forward(self, input_: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        output, bias = super().forward(input_, *args, **options)
        return output + self.lora.scale * self._adapted(input_), bias

    def _adapted(self, input_: Tensor) -> Tensor:
        down = torch.cat([adapter.a for adapter in by_projection(self).values()])
        if self.sequence_parallel:
            hidden = linear(_drop_split(input_, self), down)
            hidden = gather_from_sequence_parallel_region(hidden, group=self.tp_group)
        else:
            hidden = linear(_drop_shared(input_, self), down)
            hidden = copy_to_tensor_model_parallel_region(hidden, group=self.tp_group)
        parts = hidden.split(self.lora.rank, dim=-1)
        return self._fusion.join(
            {
                name: linear(part, adapter.b)
                for (name, adapter), part in zip(by_projection(self).items(), parts, strict=True)
            }
        )

    def merged_weight(self) -> Tensor:
        """The weight of a plain layer that computes the same."""
        products = {name: adapter.product.t() for name, adapter in by_projection(self).items()}
        return _merged(self.weight, self._fusion.join(products).t(), self.lora)

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None
    ) -> Any:
        return _sharded(self, {"weight": 0, "bias": 0}, prefix, sharded_offsets, metadata)


class AdaptedRowLinear(RowParallelLinear):  # type: ignore[misc]
    """A projection whose input is spread over ranks, with an adapter."""

    def __init__(
        self, input_size: int, output_size: int, *, lora: Lora, projection: str, **options: Any
    ) -> None:
        super().__init__(input_size, output_size, **options)
        self.lora = lora
        share = self.input_size_per_partition
        adapter = Adapter(share, output_size, split="a", rank=lora.rank, config=self.config)
        self.adapters = torch.nn.ModuleDict({projection: adapter})

    def forward(self, input_: Tensor) -> tuple[Tensor, Tensor | None]:
        output, bias = super().forward(input_)
        return output + self.lora.scale * self._adapted(input_), bias

    def _adapted(self, input_: Tensor) -> Tensor:
        (adapter,) = by_projection(self).values()
        part = linear(_drop_split(input_, self), adapter.a)
        if self.sequence_parallel:
            hidden = reduce_scatter_to_sequence_parallel_region(part, group=self.tp_group)
        else:
            hidden = reduce_from_tensor_model_parallel_region(part, group=self.tp_group)
        return linear(hidden, adapter.b)

    def merged_weight(self) -> Tensor:
        """The weight of a plain layer that computes the same."""
        (adapter,) = by_projection(self).values()
        return _merged(self.weight, adapter.product, self.lora)

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None
    ) -> Any:
        return _sharded(self, {"weight": 1}, prefix, sharded_offsets, metadata)


AdaptedLinear = AdaptedColumnLinear | AdaptedRowLinear


def by_projection(layer: AdaptedLinear) -> dict[str, Adapter]:
    return cast("dict[str, Adapter]", dict(layer.adapters.items()))


def _drop_shared(input_: Tensor, layer: AdaptedLinear) -> Tensor:
    """Dropout of an input that all tensor-parallel ranks have: all drop the same."""
    name = get_data_parallel_rng_tracker_name()
    return _drop(input_, layer, get_cuda_rng_tracker().fork(name))


def _drop_split(input_: Tensor, layer: AdaptedLinear) -> Tensor:
    """Dropout of an input that is split over tensor-parallel ranks: each drops its own."""
    return _drop(input_, layer, get_cuda_rng_tracker().fork())


def _drop(
    input_: Tensor, layer: AdaptedLinear, random_state: AbstractContextManager[object]
) -> Tensor:
    if not layer.training or layer.lora.dropout == 0:
        return input_
    with random_state:
        return dropout(input_, layer.lora.dropout)


def _merged(weight: Tensor, product: Tensor, lora: Lora) -> Tensor:
    return (exact(weight) + lora.scale * product).to(weight.dtype)


def _sharded(
    module: AdaptedLinear, axes: dict[str, int], prefix: str, offsets: Any, metadata: Any
) -> Any:
    for name, adapter in by_projection(module).items():
        axes |= {f"adapters.{name}.{adapter.split}": SPLIT_AXES[adapter.split]}
    return make_sharded_tensors_for_checkpoint(
        module.state_dict(prefix="", keep_vars=True),
        prefix,
        axes,
        offsets,
        tp_group=module.tp_group,
        dp_cp_group=metadata["dp_cp_group"],
    )
