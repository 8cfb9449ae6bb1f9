"""Causal attention over packed sequences on torch's SDPA, where TransformerEngine is not installed.

It takes the constructor and call of Megatron's `DotProductAttention`, which knows neither packing nor a
flash kernel. One SDPA call per sequence: measured on CPU, padding sequences into batches of like length
gains at most 6 % and one dense block mask costs seven times as much.
"""

from typing import Any

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor


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
        packed_seq_params: PackedSeqParams,
        **_: Any,
    ) -> Tensor:
        assert attention_mask is None, "sequences are separated by cu_seqlens"
        lengths = packed_seq_params.cu_seqlens_q.diff().tolist()
        sequences = zip(*(torch.split(x, lengths) for x in (query, key, value)), strict=True)
        return torch.cat([self._attend(*sequence) for sequence in sequences])

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """One sequence: [L, heads, D] to [L, heads x D]."""
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
