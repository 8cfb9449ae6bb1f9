"""Advantages of rejection sampling: what passed is imitated, what did not is left out.

With the loss -A * logp a step is a supervised one on the episodes that passed.
"""

import torch
from torch import Tensor

from trainer.algorithms.advantage.groups import group_statistics
from trainer.algorithms.precision import widened


def rejection_sampling(rewards: Tensor, *, threshold: float = 0.0) -> Tensor:
    """RFT (2308.01825): A = 1 where r > threshold, else 0."""
    return (rewards > threshold).to(widened(rewards).dtype)


def best_of_group(rewards: Tensor, groups: Tensor) -> Tensor:
    """RAFT (2304.06767): A = 1 for the highest reward of a group that differs, else 0; equals share it."""
    group = group_statistics(rewards, groups)
    index = torch.unique(groups, return_inverse=True)[1]
    values = torch.where(torch.isnan(rewards), -torch.inf, group.rewards)
    best = torch.full_like(values, -torch.inf).scatter_reduce(0, index, values, "amax")
    return group.keep_signal((values == best[index]).double())
