"""A linear layer on a CPU, with the signature of Megatron's.

torch multiplies float32 matrices with MKL, which reaches 80 GFLOP/s on an AMD EPYC, and oneDNN 95; for bfloat16 torch uses
oneDNN itself.
"""

from typing import Any

import torch
from megatron.core.tensor_parallel.layers import LinearWithGradAccumulationAndAsyncCommunication
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup


def linear(
    x: Tensor,  # [..., in]
    weight: Tensor,  # [out, in]
    bias: Tensor | None,
    *,
    allreduce_dgrad: bool,
    sequence_parallel: bool,
    tp_group: ProcessGroup | None,
    **_: Any,
) -> Tensor:
    """[..., out]; by Megatron's own function if ranks share the input."""
    output: Tensor
    if allreduce_dgrad or sequence_parallel:
        output = LinearWithGradAccumulationAndAsyncCommunication.apply(
            x, weight, bias, False, allreduce_dgrad, sequence_parallel, None, 0, tp_group
        )
        return output
    output = _Linear.apply(x, weight)  # type: ignore[no-untyped-call]
    return output if bias is None else output + bias


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        x_grad = _product(grad, weight.t())
        return x_grad, grad.flatten(0, -2).t() @ x.flatten(0, -2)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """As `x @ weight.t()`."""
    if x.dtype != torch.float32:
        return x @ weight.t()
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")  # noqa: SLF001 - torch's compiler uses it; no public name
    return product
