"""The fused kernels that Megatron takes from TransformerEngine and from its own compiler, written in torch.

Each has the signature that Megatron calls. They save passes over memory: the backward passes write in place,
where autograd would compute parts and concatenate them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainer.megatron.kernels.precision import exact


def rotations(
    angles: Tensor,  # float32 [longest, 1, 1, D], both halves of D the same
    positions: Tensor,  # int64 [T]
) -> Tensor:
    """The rotations that `rotate_packed` applies at these positions: [T, 1, 1, 2 D], cosines, then sines, negative in the first half."""
    half = angles.chunk(2, dim=-1)[0]
    cos, sin = half.cos(), half.sin()
    return torch.cat((cos, cos, -sin, sin), dim=-1).index_select(0, positions)


def rotate_packed(
    x: Tensor,  # [T, heads, D]
    cu_seqlens: Tensor,
    turns: Tensor,  # [T, 1, 1, 2 D], the tokens' `rotations`, instead of Megatron's table of angles
    cp_size: int = 1,
    cp_rank: int = 0,
) -> Tensor:
    """Rotary embedding of packed tokens at any positions."""
    del cu_seqlens, cp_size, cp_rank
    cos, sin = turns.squeeze(2).chunk(2, dim=-1)
    rotated: Tensor = _Rotate.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return rotated


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Computes in float32 or better: a head is too narrow for torch's bfloat16 vectors, and half a head for any vectors."""
    wide = exact(x)
    first, second = wide.chunk(2, dim=-1)
    crossed = torch.cat((second, first), dim=-1)
    return crossed.mul_(sin).addcmul_(wide, cos).to(x.dtype)


def swiglu(
    x: Tensor,  # [..., 2 F], gate before up
    bias: Tensor | None,
    fp8_input_store: bool = False,
    cpu_offload_input: bool = False,
) -> Tensor:
    """silu(gate) * up."""
    assert bias is None
    assert not fp8_input_store
    assert not cpu_offload_input
    activated: Tensor = _SwiGLU.apply(x)  # type: ignore[no-untyped-call]
    return activated


def weighted_swiglu(
    x: Tensor,  # [T, 2 F]
    bias: Tensor | None,
    weights: Tensor,  # [T, 1], this expert's share of each token
    fp8_input_store: bool = False,
) -> Tensor:
    """silu(gate) * up * weight."""
    return (swiglu(x, bias, fp8_input_store) * weights).to(x.dtype)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        activated = torch.nn.functional.silu(gate)
        ctx.save_for_backward(x, activated)
        return activated * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, activated = ctx.saved_tensors
        gate, up = x.chunk(2, dim=-1)
        x_grad = torch.empty_like(x)
        gate_grad, up_grad = x_grad.chunk(2, dim=-1)
        torch.mul(grad, up, out=up_grad)  # temporarily, the input of silu's gradient
        torch.ops.aten.silu_backward.grad_input(up_grad, gate, grad_input=gate_grad)
        torch.mul(grad, activated, out=up_grad)
        return x_grad


def router_logits(
    hidden: Tensor,  # [..., H]
    weight: Tensor,  # [experts, H]
    bias: Tensor | None,
    router_dtype: torch.dtype,
) -> Tensor:
    """The router's logits, [..., experts] in its precision."""
    bias = None if bias is None else bias.to(router_dtype)
    return torch.nn.functional.linear(hidden.to(router_dtype), weight.to(router_dtype), bias)
