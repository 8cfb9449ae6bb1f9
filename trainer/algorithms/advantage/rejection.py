"""Advantages of rejection sampling: episodes that passed are imitated, the others do not train.

With the loss -A * logp a step is a supervised one on the episodes that passed.
"""

import torch
from torch import Tensor

from trainer.algorithms.advantage.groups import group_statistics
from trainer.algorithms.advantage.record import Advantage
from trainer.algorithms.advantage.running_baseline import RunningBaseline
from trainer.algorithms.entry import Setting
from trainer.algorithms.precision import widened


def rejection_sampling(rewards: Tensor, *, threshold: float = 0.0) -> Tensor:
    """RFT (2308.01825): A = 1 where r > threshold, else 0."""
    return (rewards > threshold).to(widened(rewards).dtype)


def best_of_group(rewards: Tensor, groups: Tensor) -> Tensor:
    """RAFT (2304.06767): A = 1 for the highest reward of a group that differs, else 0; all of equal highest rewards get 1."""
    group = group_statistics(rewards, groups)
    index = torch.unique(groups, return_inverse=True)[1]
    values = torch.where(torch.isnan(rewards), -torch.inf, group.rewards)
    best = torch.full_like(values, -torch.inf).scatter_reduce(0, index, values, "amax")
    return group.keep_signal((values == best[index]).double())


def best_single(baseline: RunningBaseline, rewards: Tensor) -> Tensor:
    """A group of one: 1 where its reward is above the baseline, else 0."""
    return (baseline.differences(rewards) > 0).to(rewards)


BEST_OF_GROUP = Advantage(
    name="best_of_group", formula=best_of_group, single=best_single, imitates=True
)
REJECTION_SAMPLING = Advantage(
    name="rejection_sampling",
    formula=rejection_sampling,
    imitates=True,
    settings=(
        Setting(
            "acceptance_threshold",
            0.0,
            "rejection_sampling: episodes with a reward above it train",
            parameter="threshold",
        ),
    ),
)
