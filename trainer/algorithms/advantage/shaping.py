"""Reward shaping and the choice of groups (DAPO 2503.14476)."""

import torch
from torch import Tensor

from trainer.algorithms.advantage.groups import group_statistics
from trainer.algorithms.precision import widened


def soft_overlong(lengths: Tensor, *, max_length: int, cache_length: int) -> Tensor:
    """DAPO (2503.14476): 0 up to max - cache sampled tokens of an episode, then falling linearly to -1 at max."""
    over = widened(lengths) - (max_length - cache_length)
    return torch.where(over > 0, -over / cache_length, 0.0).clamp(min=-1)


def dynamic_sampling(rewards: Tensor, groups: Tensor) -> Tensor:
    """DAPO (2503.14476): which episodes belong to a group whose rewards differ, before any shaping."""
    return group_statistics(rewards, groups).has_signal


def shaped_rewards(
    rewards: Tensor, *, scale: float = 1.0, low: float = -torch.inf, high: float = torch.inf
) -> Tensor:
    """Rewards as clip(scale * r, low, high), before any group statistics."""
    return (scale * widened(rewards)).clamp(low, high)
