"""The precision of every formula: float32 or more, whatever the dtype of its inputs."""

import torch
from torch import Tensor


def widened(values: Tensor) -> Tensor:
    """bfloat16 and integers as float32, float64 as it is. Call it BEFORE any difference, product or exponential."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
