"""Causal attention over packed sequences and trees on torch's SDPA, where TransformerEngine is not installed.

It takes the constructor and call of Megatron's `DotProductAttention`, which knows neither packing nor a
flash kernel. One SDPA call per sequence: measured on CPU, padding sequences into batches of like length
gains at most 6 % and one dense block mask costs seven times as much. A branch asks the keys of its path in
chunks of queries: all work is of use, and no mask has a row for every token.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from trainer.megatron.packing import Packing
from trainer.megatron.paths import Path


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
        lengths = [path[-1][1] for path in packing.paths]
        queries, keys, values = (torch.split(x, lengths) for x in (query, key, value))
        outputs = []
        for own, path in zip(queries, packing.paths, strict=True):
            seen = (_along(path, keys), _along(path, values))
            if len(path) == 1:
                outputs.append(self._attend(own, *seen))
            else:
                assert packing.horizon is not None
                outputs += self._attend_beyond(own, *seen, packing.horizon)
        return torch.cat(outputs)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """A whole sequence: [L, heads, D] to [L, heads x D]."""
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
        output = torch.nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            is_causal=True,
            scale=self.scale,
            enable_gqa=query.size(1) != key.size(1),
        )
        return output[0].transpose(0, 1).flatten(1)

    def _attend_beyond(
        self, query: Tensor, key: Tensor, value: Tensor, horizon: Tensor
    ) -> Iterator[Tensor]:
        """The last L tokens of a path of K: [L, heads, D] in chunks of [n, heads x D].

        Heads that share a key ask it side by side, so that keys need no copy per head.
        """
        num_keys, shared, channels = key.shape
        heads = query.size(1) // shared
        key, value = key.transpose(0, 1), value.transpose(0, 1)
        end = num_keys - query.size(0)
        for chunk in torch.split(query, horizon.size(0) // heads):
            rows = chunk.size(0) * heads
            end += chunk.size(0)
            output = torch.nn.functional.scaled_dot_product_attention(
                chunk.view(-1, shared, heads, channels)
                .transpose(0, 1)
                .reshape(1, shared, rows, channels),
                key[None, :, :end],
                value[None, :, :end],
                attn_mask=horizon[-rows:, horizon.size(1) - end :],
                scale=self.scale,
            )
            yield output.view(shared, -1, heads, channels).transpose(0, 1).flatten(1)


def _along(path: Path, sequences: Sequence[Tensor]) -> Tensor:
    """The tokens of a path, from those of its sequences."""
    if len(path) == 1:
        return sequences[path[0][0]]
    return torch.cat([sequences[index][:tokens] for index, tokens in path])
