"""Logprobs and entropies of given tokens under softmax(hidden @ weight.T / temperature).

The vocabulary may be split over tensor-parallel ranks. Tokens go through in chunks and the backward
pass computes each chunk's logits again, so no [tokens, vocabulary] tensor ever exists.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup, ReduceOp

# Logits held at once, over one rank's part of the vocabulary: 16 MiB of float32 stays near the cache.
CHUNK_ELEMENTS = 1 << 22


def token_logprobs(
    hidden: Tensor,  # [T, H], T positions that each predict one target
    weight: Tensor,  # [V, H], this rank's rows of the vocabulary
    targets: Tensor,  # int64 [T], ids in the whole vocabulary
    *,
    temperatures: Tensor | None = None,  # float32 [T]
    first_row: int = 0,  # the id that this rank's first row stands for
    group: ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Float32 (logprobs [T], entropies [T]), the same on every rank of the group.

    Each rank's gradient of `hidden` covers its own rows only; the caller adds them up.
    """
    logprobs, entropies = _TokenLogprobs.apply(hidden, weight, targets, temperatures, first_row, group)
    return logprobs, entropies


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperatures: Tensor | None,
        first_row: int,
        group: ProcessGroup | None,
    ) -> tuple[Tensor, Tensor]:
        rows = targets - first_row
        partition = _Partition(weight, rows, temperatures, group)
        size = max(1, CHUNK_ELEMENTS // max(1, weight.size(0)))
        ctx.chunks = [slice(i, i + size) for i in range(0, hidden.size(0), size)]
        logprobs = hidden.new_empty(hidden.size(0), dtype=torch.float32)
        normalizers, entropies = torch.empty_like(logprobs), torch.empty_like(logprobs)
        for chunk in ctx.chunks:
            logprobs[chunk], normalizers[chunk], entropies[chunk] = partition.measure(hidden, chunk)
        ctx.save_for_backward(hidden, weight, rows, temperatures, normalizers, entropies)
        ctx.set_materialize_grads(False)
        return logprobs, entropies

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: Any, logprob_grad: Tensor | None, entropy_grad: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, rows, temperatures, normalizers, entropies = ctx.saved_tensors
        partition = _Partition(weight, rows, temperatures, None)
        hidden_grad, weight_grad = torch.zeros_like(hidden), torch.zeros_like(weight)
        for chunk in ctx.chunks:
            logits_grad = partition.logits_grad(
                hidden, chunk, normalizers[chunk], entropies[chunk], logprob_grad, entropy_grad
            )
            torch.mm(logits_grad, weight, out=hidden_grad[chunk])
            weight_grad.addmm_(logits_grad.t(), hidden[chunk])
        return hidden_grad, weight_grad, None, None, None, None


class _Partition:
    """This rank's rows of the vocabulary, asked about chunks of tokens."""

    def __init__(
        self, weight: Tensor, rows: Tensor, temperatures: Tensor | None, group: ProcessGroup | None
    ) -> None:
        self.weight = weight
        self.rows = rows  # the target's row, outside [0, V) where another rank has it
        self.temperatures = temperatures
        self.group = group

    def logits(self, hidden: Tensor, chunk: slice) -> Tensor:
        logits = torch.mm(hidden[chunk], self.weight.t()).float()
        return logits if self.temperatures is None else logits.div_(self.temperatures[chunk, None])

    def measure(self, hidden: Tensor, chunk: slice) -> tuple[Tensor, Tensor, Tensor]:
        """(target's logprob, log of the softmax's denominator, entropy), float32 [chunk] each."""
        logits = self.logits(hidden, chunk)
        peak = self._reduce(logits.amax(dim=1), ReduceOp.MAX)
        logits.sub_(peak[:, None])
        row, here = self._row(chunk)
        target = logits.gather(1, row[:, None])[:, 0].where(here, 0.0)
        exponentials = logits.exp()
        total = exponentials.sum(dim=1)
        weighted = exponentials.mul_(logits).sum(dim=1)  # sum of softmax * logit, times the denominator
        target, total, weighted = self._reduce(torch.stack((target, total, weighted)), ReduceOp.SUM)
        log_total = total.log()
        return target - log_total, log_total + peak, log_total - weighted / total

    def logits_grad(
        self,
        hidden: Tensor,
        chunk: slice,
        normalizers: Tensor,
        entropies: Tensor,
        logprob_grad: Tensor | None,
        entropy_grad: Tensor | None,
    ) -> Tensor:
        """Gradient of the undivided logits, [chunk, V] in the weight's type.

        With p = softmax and H its entropy: d logprob / d logit_j = [j is the target] - p_j
        and dH / d logit_j = -p_j (log p_j + H).
        """
        log_softmax = self.logits(hidden, chunk).sub_(normalizers[:, None])
        softmax = log_softmax.exp()
        grad = torch.zeros_like(softmax)
        if entropy_grad is not None and entropy_grad.any():
            grad = log_softmax.add_(entropies[:, None]).mul_(softmax).mul_(-entropy_grad[chunk, None])
        if logprob_grad is not None:
            row, here = self._row(chunk)
            grad.addcmul_(softmax, logprob_grad[chunk, None], value=-1)
            grad.scatter_add_(1, row[:, None], logprob_grad[chunk].where(here, 0.0)[:, None])
        if self.temperatures is not None:
            grad.div_(self.temperatures[chunk, None])
        return grad.to(self.weight.dtype)

    def _row(self, chunk: slice) -> tuple[Tensor, Tensor]:
        """The target's row clamped to ours, and whether it is ours."""
        row = self.rows[chunk]
        last = self.weight.size(0) - 1
        return row.clamp(0, last), (row >= 0) & (row <= last)

    def _reduce(self, value: Tensor, operation: ReduceOp.RedOpType) -> Tensor:
        if self.group is not None and self.group.size() > 1:
            torch.distributed.all_reduce(value, op=operation, group=self.group)
        return value
