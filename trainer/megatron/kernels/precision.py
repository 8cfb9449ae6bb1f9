"""The precision of reductions: float32, or the tensor's own if it is higher."""

import torch
from torch import Tensor


def exact(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
