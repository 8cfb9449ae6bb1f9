"""Logprobs and entropies of given tokens under softmax(hidden @ weight.T / temperature).

The vocabulary may be split over tensor-parallel ranks. Tokens are computed in chunks of bounded size and
the backward pass computes each chunk's logits again, so a whole [tokens, vocabulary] tensor never exists.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed import ProcessGroup, ReduceOp

from trainer.megatron.kernels.precision import exact

# Logits that may exist at once, over one rank's rows of the vocabulary: 16 MiB of float32.
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
    """(logprobs [T], entropies [T]) in float32 or better, the same on every rank of the group.

    Each rank's gradient of `hidden` covers its own rows only; the caller sums them.
    """
    rows = targets - first_row
    measured: tuple[Tensor, Tensor] = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, weight, rows, temperatures, group
    )
    return measured


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        rows: Tensor,
        temperatures: Tensor | None,
        group: ProcessGroup | None,
    ) -> tuple[Tensor, Tensor]:
        head = _Head(hidden, weight, rows, temperatures)
        ctx.chunks = head.chunks()
        logprobs, normalizers, entropies = exact(hidden.new_empty(3, hidden.size(0)))
        log_softmax = None
        for chunk in ctx.chunks:
            log_softmax, normalizers[chunk], entropies[chunk] = _log_softmax(
                head.logits(chunk), group
            )
            logprobs[chunk] = _add_up(head.pick(log_softmax, chunk), group)
        # The result of a single chunk is small enough to keep.
        kept = log_softmax if len(ctx.chunks) == 1 else None
        ctx.save_for_backward(hidden, weight, rows, temperatures, normalizers, entropies, kept)
        ctx.set_materialize_grads(False)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, logprob_grad: Tensor | None, entropy_grad: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, rows, temperatures, normalizers, entropies, kept = ctx.saved_tensors
        head = _Head(hidden, weight, rows, temperatures)
        hidden_grad = torch.zeros_like(hidden)
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for chunk in ctx.chunks:
            log_softmax = kept
            if log_softmax is None:
                log_softmax = head.logits(chunk).sub_(normalizers[chunk, None])
            logits_grad = torch.zeros_like(log_softmax)
            if logprob_grad is not None:
                head.add_logprob_grad(logits_grad, log_softmax, logprob_grad[chunk], chunk)
            if entropy_grad is not None and entropy_grad.any():
                _add_entropy_grad(logits_grad, log_softmax, entropy_grad[chunk], entropies[chunk])
            logits_grad = head.undo_temperature(logits_grad, chunk).to(weight.dtype)
            torch.mm(logits_grad, weight, out=hidden_grad[chunk])
            if weight_grad is not None:
                weight_grad.addmm_(logits_grad.t(), hidden[chunk])
        return hidden_grad, weight_grad, None, None, None


class _Head:
    """This rank's rows of the output layer, for chunks of tokens."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, rows: Tensor, temperatures: Tensor | None
    ) -> None:
        self.hidden = hidden
        self.weight = weight
        self.rows = rows  # the target's row, outside [0, V) where another rank has it
        self.temperatures = temperatures

    def chunks(self) -> list[slice]:
        size = max(1, CHUNK_ELEMENTS // self.weight.size(0))
        return [slice(start, start + size) for start in range(0, self.hidden.size(0), size)]

    def logits(self, chunk: slice) -> Tensor:
        logits = exact(torch.mm(self.hidden[chunk], self.weight.t()))
        return self.undo_temperature(logits, chunk)

    def undo_temperature(self, logits: Tensor, chunk: slice) -> Tensor:
        return logits if self.temperatures is None else logits.div_(self.temperatures[chunk, None])

    def pick(self, values: Tensor, chunk: slice) -> Tensor:
        """Each token's value at its target, 0 where another rank has the target."""
        row, here = self._target(chunk)
        return values.gather(1, row)[:, 0].where(here, 0.0)

    def add_logprob_grad(
        self, logits_grad: Tensor, log_softmax: Tensor, grad: Tensor, chunk: slice
    ) -> None:
        """The gradient of a logprob: [j is the target] - softmax_j for logit j."""
        row, here = self._target(chunk)
        logits_grad.addcmul_(log_softmax.exp(), grad[:, None], value=-1)
        logits_grad.scatter_add_(1, row, grad.where(here, 0.0)[:, None])

    def _target(self, chunk: slice) -> tuple[Tensor, Tensor]:
        """The target's row clamped to this rank's [T, 1], and whether it is on this rank [T]."""
        rows = self.rows[chunk]
        last = self.weight.size(0) - 1
        return rows.clamp(0, last)[:, None], (rows >= 0) & (rows <= last)


def _log_softmax(logits: Tensor, group: ProcessGroup | None) -> tuple[Tensor, Tensor, Tensor]:
    """(log softmax, in the place of the logits; log of its denominator [T]; entropy [T]), over all ranks' rows."""
    peak = logits.amax(dim=1)
    if group is not None and group.size() > 1:
        torch.distributed.all_reduce(peak, op=ReduceOp.MAX, group=group)
    logits.sub_(peak[:, None])
    exponentials = logits.exp()
    total = exponentials.sum(dim=1)
    weighted = exponentials.mul_(logits).sum(dim=1)  # the mean logit times the denominator
    total, weighted = _add_up(torch.stack((total, weighted)), group)
    log_total = total.log()
    return logits.sub_(log_total[:, None]), log_total + peak, log_total - weighted / total


def _add_entropy_grad(
    logits_grad: Tensor, log_softmax: Tensor, grad: Tensor, entropies: Tensor
) -> None:
    """The gradient of an entropy: -softmax_j (log softmax_j + entropy) for logit j."""
    surprise = log_softmax + entropies[:, None]
    logits_grad.addcmul_(surprise.mul_(log_softmax.exp()), grad[:, None], value=-1)


def _add_up(value: Tensor, group: ProcessGroup | None) -> Tensor:
    if group is not None and group.size() > 1:
        torch.distributed.all_reduce(value, group=group)
    return value
