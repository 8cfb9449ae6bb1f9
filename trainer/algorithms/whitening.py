"""Whitening over the tokens of the whole batch."""

import torch
from torch import Tensor


def whiten(values: Tensor, action_mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(var + epsilon) over masked tokens, variance with ddof 0; 0 where the mask is 0.

    The caller passes the GLOBAL batch: whitening a microbatch or one rank's share gives another answer.
    """
    mask = action_mask.bool()
    if not bool(mask.any()):
        return torch.zeros_like(values)
    chosen = values[mask].double()
    scale = (chosen.var(correction=0) + epsilon).rsqrt()
    return torch.where(mask, (values.double() - chosen.mean()) * scale, 0.0).to(values.dtype)
