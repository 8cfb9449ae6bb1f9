"""Statistics of the rewards of each group, in float64, handed back to every episode of the group."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.algorithms.precision import widened

RELATIVE_RANGE = 1e-8
"""Rewards closer together than this, relative to their size, are the same reward."""


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """One entry per episode `[N]`, float64; `std` has ddof 1 and is 0 for a group of one."""

    rewards: Tensor
    count: Tensor
    mean: Tensor
    std: Tensor
    has_signal: Tensor
    dtype: torch.dtype

    def keep_signal(self, advantages: Tensor) -> Tensor:
        """`advantages` where the group has any, 0 exactly elsewhere; in the dtype of the rewards."""
        return torch.where(self.has_signal, advantages, 0.0).to(self.dtype)


def group_statistics(rewards: Tensor, groups: Tensor) -> GroupStatistics:
    """Count, mean and deviation of each episode's group, over its present (not NaN) rewards."""
    present = ~torch.isnan(rewards)
    values = torch.where(present, rewards, 0.0).double()
    index = torch.unique(groups, return_inverse=True)[1]
    size = int(index.max()) + 1 if index.numel() else 0

    def total(x: Tensor) -> Tensor:
        return torch.zeros(size, dtype=torch.float64, device=x.device).index_add(0, index, x)

    count = total(present.double())
    mean = (total(values) / count.clamp(min=1))[index]
    squares = total(torch.where(present, (values - mean) ** 2, 0.0))
    std = (squares / (count - 1).clamp(min=1)).sqrt()[index]
    return GroupStatistics(
        rewards=values,
        count=count[index],
        mean=mean,
        std=std,
        has_signal=present & _differs(values, present, index, size),
        dtype=widened(rewards).dtype,
    )


def _differs(values: Tensor, present: Tensor, index: Tensor, size: int) -> Tensor:
    """Whether the rewards of an episode's group differ: range above 1e-8 * max(1, |r|)."""
    empty = torch.zeros(size, dtype=torch.float64, device=values.device)
    inf = torch.full_like(values, float("inf"))
    high = empty.scatter_reduce(
        0, index, torch.where(present, values, -inf), "amax", include_self=False
    )
    low = empty.scatter_reduce(
        0, index, torch.where(present, values, inf), "amin", include_self=False
    )
    size_of = torch.maximum(high.abs(), low.abs()).clamp(min=1)
    return ((high - low) > RELATIVE_RANGE * size_of)[index]
