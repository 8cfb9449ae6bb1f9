"""GiGPO (2505.10978): the group's episode advantage plus an advantage among all visits to the same state."""

import torch
from torch import Tensor

from trainer.algorithms.advantage.group_relative import EPSILON
from trainer.algorithms.advantage.groups import group_statistics
from trainer.algorithms.advantage.returns import turn_returns


def gigpo(
    episode_advantages: Tensor,
    turn_rewards: Tensor,
    *,
    episodes: Tensor,
    groups: Tensor,
    states: Tensor,
    omega: float = 1.0,
    gamma: float = 0.95,
    epsilon: float = EPSILON,
    normalize: bool = False,
) -> Tensor:
    """GiGPO (2505.10978): A = A_episode + omega * A_step per turn; a state visited once has A_step = 0.

    `[turns]`. A_step compares discounted returns among turns with the same (group, state), mean only unless `normalize`
    divides by their deviation too. `episode_advantages` has one entry per turn too.
    """
    returns = turn_returns(turn_rewards, episodes, gamma=gamma)
    step = state_advantages(
        returns, groups=groups, states=states, epsilon=epsilon, normalize=normalize
    )
    return episode_advantages + omega * step


def state_advantages(
    returns: Tensor,
    *,
    groups: Tensor,
    states: Tensor,
    epsilon: float = EPSILON,
    normalize: bool = False,
) -> Tensor:
    """A_step alone: discounted returns compared among the turns with the same (group, state)."""
    place = torch.unique(torch.stack([groups, states]), dim=1, return_inverse=True)[1]
    visits = group_statistics(returns, place)
    centered = visits.rewards - visits.mean
    return visits.keep_signal(centered / (visits.std + epsilon) if normalize else centered)
