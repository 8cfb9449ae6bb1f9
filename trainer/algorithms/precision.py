"""The precision in which everything here is reckoned: float32 or more, whatever the tensors given have."""

import torch
from torch import Tensor


def widened(values: Tensor) -> Tensor:
    """bfloat16 and integers as float32, float64 as it is; BEFORE any difference, product or exponential is taken."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
