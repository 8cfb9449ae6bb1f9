"""Causal attention over whole sequences packed end to end.

On CPU the kernel under torch's SDPA is called for one sequence after another, which keeps each in the cache. Results are
written in place: with autograd, concatenating the gradients of 64 views takes a fifth of the time of attention. The
forward pass is no faster in bfloat16 than in float32; for short sequences the backward pass takes up to three times as long.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.megatron import platform
from trainer.megatron.kernels.precision import exact

# From about this many tokens on, the kernel's backward pass is faster in bfloat16 than in float32.
LONG = 512


def causal_attention(
    query: Tensor,  # [T, heads, D]
    key: Tensor,  # [T, kv heads, D]
    value: Tensor,  # [T, kv heads, D]
    lengths: Sequence[int],  # of the sequences, T together
    *,
    scale: float,
) -> Tensor:
    """[T, heads x D], each token attends to itself and the tokens before it in its sequence."""
    if platform.has_cuda():
        return _on_cuda(query, key, value, lengths, scale=scale)
    output: Tensor = _OnCPU.apply(query, key, value, lengths, scale)  # type: ignore[no-untyped-call]
    return output


def _on_cuda(
    query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], *, scale: float
) -> Tensor:
    outputs = [
        torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=query.size(1) != key.size(1)
        )
        for q, k, v in zip(*(_sequences(x, lengths) for x in (query, key, value)), strict=True)
    ]
    return torch.cat([output[0].transpose(0, 1).flatten(1) for output in outputs])


class _OnCPU(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float
    ) -> Tensor:
        parts = zip(*(map(exact, _sequences(x, lengths)) for x in (query, key, value)), strict=True)
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - SDPA keeps what the backward pass needs
        pairs = [attend(*part, is_causal=True, scale=scale) for part in parts]
        outputs, normalizers = zip(*pairs, strict=True)
        output = _joined(outputs, query, lengths)
        ctx.lengths, ctx.scale = lengths, scale
        ctx.save_for_backward(query, key, value, output, *normalizers)
        return output.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, *normalizers = ctx.saved_tensors
        inputs, lengths = (query, key, value), ctx.lengths
        known = (
            _to_differentiate(x, lengths) for x in (grad.reshape(query.shape), *inputs, output)
        )
        differentiate = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # noqa: SLF001 - as above
        gradients = [
            differentiate(*part, dropout_p=0.0, is_causal=True, scale=ctx.scale)
            for part in zip(*known, normalizers, strict=True)
        ]
        by_input = zip(zip(*gradients, strict=True), inputs, strict=True)
        return (*(_joined(parts, x, lengths) for parts, x in by_input), None, None)


def _sequences(x: Tensor, lengths: Sequence[int]) -> tuple[Tensor, ...]:
    """[T, heads, D] to [1, heads, L, D] each, which share its memory."""
    return torch.split(x.transpose(0, 1).unsqueeze(0), list(lengths), dim=2)


def _to_differentiate(x: Tensor, lengths: Sequence[int]) -> list[Tensor]:
    """Each sequence in the precision that its backward pass is computed in."""
    return [part if part.size(2) >= LONG else exact(part) for part in _sequences(x, lengths)]


def _joined(parts: Iterable[Tensor], like: Tensor, lengths: Sequence[int]) -> Tensor:
    """[1, heads, L, D] each to [T, heads, D]."""
    joined = torch.empty(like.shape, dtype=like.dtype)
    torch._foreach_copy_(list(_sequences(joined, lengths)), list(parts))
    return joined
