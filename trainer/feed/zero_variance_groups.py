"""Dynamic sampling (DAPO 2503.14476): groups of equal rewards are replaced by others."""

from collections.abc import Sequence

import torch

from rollout.episode.group import Claim
from trainer.algorithms import dynamic_sampling


def zero_variance_groups(claims: Sequence[Claim]) -> list[Claim]:
    """Groups of two or more whose rewards are equal before shaping, which could make them differ.

    A group of one has no spread; the running baseline may still give it an advantage.
    """
    return [claim for claim in claims if len(claim.episodes) > 1 and not _has_spread(claim)]


def _has_spread(claim: Claim) -> bool:
    rewards = [episode.rewards.total for episode in claim.episodes]
    one_group = torch.zeros(len(rewards), dtype=torch.int64)
    return bool(dynamic_sampling(torch.tensor(rewards, dtype=torch.float64), one_group).any())
