"""Two rows with holes, and float64 numbers for their tokens: what formulas are tried on."""

from collections.abc import Callable

import torch
from torch import Tensor

MASK = torch.tensor([[0, 1, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0]], dtype=torch.bool)
ROWS, SLOTS = MASK.shape
PACKED = torch.tensor([0, SLOTS, 2 * SLOTS])


def random(seed: int, scale: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return -1 + scale * torch.randn(ROWS, SLOTS, generator=generator, dtype=torch.float64)


def close(result: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)


CURRENT, PROXIMAL, BEHAVIOR = random(1), random(2), random(3)
ADVANTAGES = torch.tensor([[1.5], [-0.7]], dtype=torch.float64).expand(ROWS, SLOTS)


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor = CURRENT) -> Tensor:
    logprobs = at.clone().requires_grad_()
    loss(logprobs).sum().backward()
    assert logprobs.grad is not None
    return logprobs.grad
