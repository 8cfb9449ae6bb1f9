"""Advantages from one scalar reward per episode.

Statistics are taken over EPISODES, never over rows: an episode that fans out into five sequences counts once in its group.
A group whose rewards all agree has the advantage 0 exactly, decided on the range and not on the standard deviation, which is
never quite zero in floating point. A group of one has no other reward to compare with and gets 0 here; `RunningBaseline` gives it an advantage.
An episode without a reward (NaN) is not in the statistics and gets 0.
"""

import torch
from torch import Tensor

from trainer.algorithms.advantage.groups import group_statistics
from trainer.algorithms.advantage.record import Advantage
from trainer.algorithms.advantage.running_baseline import RunningBaseline
from trainer.algorithms.precision import widened

EPSILON = 1e-6
"""Added to a standard deviation; verl and slime use the same (2402.03300 states none)."""


def grpo(rewards: Tensor, groups: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """GRPO (2402.03300): A = (r - mean_g) / (std_g + epsilon), std with ddof 1, over episodes."""
    group = group_statistics(rewards, groups)
    return group.keep_signal((group.rewards - group.mean) / (group.std + epsilon))


def dr_grpo(rewards: Tensor, groups: Tensor) -> Tensor:
    """Dr.GRPO (2503.20783): A = r - mean_g."""
    group = group_statistics(rewards, groups)
    return group.keep_signal(group.rewards - group.mean)


def rloo(rewards: Tensor, groups: Tensor) -> Tensor:
    """RLOO (2402.14740): A = r - mean of the other n - 1 = n / (n - 1) * (r - mean_g)."""
    group = group_statistics(rewards, groups)
    scale = group.count / (group.count - 1).clamp(min=1)
    return group.keep_signal(scale * (group.rewards - group.mean))


def max_rl(rewards: Tensor, groups: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """MaxRL (as in SkyRL and prime-rl): A = (r - mean_g) / (mean_g + epsilon), for rewards >= 0."""
    group = group_statistics(rewards, groups)
    return group.keep_signal((group.rewards - group.mean) / (group.mean + epsilon))


def lite_ppo(rewards: Tensor, groups: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """LitePPO (2508.08221): A = (r - mean_g) / (std of all raw rewards of the batch + epsilon), ddof 1."""
    group = group_statistics(rewards, groups)
    whole = group_statistics(rewards, torch.zeros_like(groups))
    return group.keep_signal((group.rewards - group.mean) / (whole.std + epsilon))


def reinforce(rewards: Tensor) -> Tensor:
    """REINFORCE (Williams 1992): A = r; whiten it over the batch with `whiten` if wanted."""
    return torch.nan_to_num(widened(rewards), nan=0.0)


GRPO = Advantage(
    name="grpo", formula=grpo, single=RunningBaseline.advantages, divides_by_deviation=True
)
DR_GRPO = Advantage(name="dr_grpo", formula=dr_grpo)
RLOO = Advantage(name="rloo", formula=rloo)
LITE_PPO = Advantage(
    name="lite_ppo", formula=lite_ppo, single=RunningBaseline.advantages, divides_by_deviation=True
)
MAX_RL = Advantage(name="max_rl", formula=max_rl, single=RunningBaseline.advantages)
REINFORCE = Advantage(name="reinforce", formula=reinforce, is_return=True)
