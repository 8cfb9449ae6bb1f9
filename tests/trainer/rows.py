"""Two rows with holes, and float64 numbers for their tokens: what formulas are tried on."""

import torch
from torch import Tensor

MASK = torch.tensor([[0, 1, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0]], dtype=torch.bool)
ROWS, SLOTS = MASK.shape


def random(seed: int, scale: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return -1 + scale * torch.randn(ROWS, SLOTS, generator=generator, dtype=torch.float64)


def close(result: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)
