"""Whitening over the tokens of the whole batch."""

import torch
from torch import Tensor

from trainer.algorithms.advantage.groups import RELATIVE_RANGE
from trainer.algorithms.precision import widened


def whiten(values: Tensor, action_mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Whitened: (x - mean) / sqrt(var + epsilon) over the batch's sampled tokens, ddof 0; 0 where the mask is 0.

    The caller passes the GLOBAL batch: whitening a microbatch or one rank's share gives another answer. Values that are all
    equal become 0 exactly, decided by their range: the division would enlarge their rounding errors ten thousand times.
    """
    mask = action_mask.bool()
    chosen = values[mask].double()
    if not bool(mask.any()) or is_constant(chosen):
        return torch.zeros_like(widened(values))
    scale = (chosen.var(correction=0) + epsilon).rsqrt()
    return torch.where(mask, (values.double() - chosen.mean()) * scale, 0.0).to(
        widened(values).dtype
    )


def is_constant(values: Tensor) -> bool:
    """Whether values differ by no more than rounding does: range at most 1e-8 * max(1, |x|)."""
    size = values.abs().max().clamp(min=1)
    return bool(values.max() - values.min() <= RELATIVE_RANGE * size)
