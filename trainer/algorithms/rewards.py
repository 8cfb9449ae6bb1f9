"""Steps of a plug-in before advantages: changing the rewards of a batch, and choosing the episodes that train."""

from typing import ClassVar

import torch
from torch import Tensor

from trainer.algorithms.entry import Entry

EPISODES = frozenset({"rewards", "lengths", "groups", "truncated"})


class RewardTransform(Entry):
    """Rewards `[N]` of the batch's episodes, as the environment gave them, to those that are scaled, bounded and trained on."""

    inputs: ClassVar = EPISODES


class EpisodeFilter(Entry):
    """bool `[N]`: the episodes that train. The reward of one that is left out still counts in its group."""

    inputs: ClassVar = EPISODES


def unchanged(rewards: Tensor) -> Tensor:
    """Rewards are those of the environment"""
    return rewards


def everything(rewards: Tensor) -> Tensor:
    """Every episode trains"""
    return torch.ones_like(rewards, dtype=torch.bool)


REWARD_TRANSFORMS = (RewardTransform(name="none", formula=unchanged),)
EPISODE_FILTERS = (EpisodeFilter(name="none", formula=everything),)
