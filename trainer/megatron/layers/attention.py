"""Causal attention over packed sequences and trees on torch's SDPA, where TransformerEngine is not installed.

It has the constructor and call of Megatron's `DotProductAttention`, which supports neither packing nor a
flash kernel. Whole sequences are computed one by one: one dense block mask costs seven times as much. A branch,
or a shard of a sequence under context parallelism, attends to the keys of its path in chunks of queries, so that
no mask has a row for every token. Context-parallel ranks gather all keys and values.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from trainer.learner.paths import Path
from trainer.megatron.layers.causal_attention import causal_attention
from trainer.megatron.layers.packing import Packing


class PackedAttention(MegatronModule):  # type: ignore[misc]
    def __init__(
        self, config: TransformerConfig, softmax_scale: float | None = None, **_: Any
    ) -> None:
        super().__init__(config=config)
        assert config.attention_dropout == 0.0
        self.scale = config.kv_channels**-0.5 if softmax_scale is None else softmax_scale

    def forward(
        self,
        query: Tensor,  # [T, heads, D]
        key: Tensor,  # [T, kv heads, D]
        value: Tensor,  # [T, kv heads, D]
        attention_mask: Tensor | None,
        *,
        packed_seq_params: Packing,
        **_: Any,
    ) -> Tensor:
        assert attention_mask is None, "sequences are separated by cu_seqlens"
        packing = packed_seq_params
        if packing.branch_mask is None and parallel_state.get_context_parallel_world_size() == 1:
            padding = query.size(0) - sum(packing.lengths)
            lengths = [*packing.lengths, padding] if padding else packing.lengths
            return causal_attention(query, key, value, lengths, scale=self.scale)
        return torch.cat(list(self._by_stretch(query, key, value, packing)))

    def _by_stretch(
        self, query: Tensor, key: Tensor, value: Tensor, packing: Packing
    ) -> Iterator[Tensor]:
        keys, values = _sequences(key, value, packing)
        sizes = [shard.tokens for shard in packing.shards]
        padding = query.size(0) - sum(sizes)
        for shard, own in zip(packing.shards, torch.split(query, [*sizes, padding]), strict=False):
            seen = (_along(shard.path, keys), _along(shard.path, values))
            if shard.is_whole:
                yield causal_attention(own, *seen, [shard.tokens], scale=self.scale)
            else:
                assert packing.branch_mask is not None
                yield from self._attend_to_path(own, *seen, packing.branch_mask)
        if padding:
            yield _first_value(values, query.size(1)).expand(padding, -1)

    def _attend_to_path(
        self, query: Tensor, key: Tensor, value: Tensor, branch_mask: Tensor
    ) -> Iterator[Tensor]:
        """The last L tokens of a path of K: [L, heads, D] in chunks of [n, heads x D].

        Heads that share a key are computed side by side, so that keys need no copy per head.
        """
        num_keys, shared, channels = key.shape
        heads = query.size(1) // shared
        key, value = key.transpose(0, 1), value.transpose(0, 1)
        end = num_keys - query.size(0)
        for chunk in torch.split(query, branch_mask.size(0) // heads):
            rows = chunk.size(0) * heads
            end += chunk.size(0)
            output = torch.nn.functional.scaled_dot_product_attention(
                chunk.view(-1, shared, heads, channels)
                .transpose(0, 1)
                .reshape(1, shared, rows, channels),
                key[None, :, :end],
                value[None, :, :end],
                attn_mask=branch_mask[-rows:, branch_mask.size(1) - end :],
                scale=self.scale,
            )
            yield output.view(shared, -1, heads, channels).transpose(0, 1).flatten(1)


def _sequences(
    key: Tensor, value: Tensor, packing: Packing
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The keys and values of each whole sequence, from those of all ranks."""
    group = parallel_state.get_context_parallel_group()
    if group.size() > 1:
        both = gather_from_sequence_parallel_region(torch.cat((key, value), dim=1), group=group)
        key, value = both.index_select(0, packing.order).chunk(2, dim=1)
    sizes = [*packing.lengths, key.size(0) - sum(packing.lengths)]
    return torch.split(key, sizes), torch.split(value, sizes)


def _first_value(values: Sequence[Tensor], heads: int) -> Tensor:
    """The output of padding, [1, heads x D]: a rank that has padding only must still take part in the backward pass."""
    first = values[0][:1]
    return first.repeat_interleave(heads // first.size(1), dim=1).flatten(1)


def _along(path: Path, sequences: Sequence[Tensor]) -> Tensor:
    """The tokens of a path, from those of its sequences."""
    pieces = [sequences[index][:tokens] for index, tokens in path]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
