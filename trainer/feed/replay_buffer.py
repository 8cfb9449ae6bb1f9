"""The replay buffer: groups held under lease until a batch takes them.

Every group trains once, so the order only decides which groups become stale. Drawing by priority is prioritized experience replay
(1511.05952) without repetition: groups whose rewards differ are preferred, and get smaller weights to correct for it.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from rollout.episode.group import Claim

Order = Literal["oldest", "priority"]

PRIORITY_EXPONENT = 0.6  # 1511.05952, table 3: the proportional variant
CORRECTION_EXPONENT = 0.4
LEAST_PRIORITY = 0.1  # of the highest: a group without a signal is drawn too, but later


class ReplayBuffer:
    """Holds at most `capacity` groups, in the order in which they became ready."""

    def __init__(self, capacity: int, *, order: Order = "oldest", seed: int = 0) -> None:
        self._capacity = capacity
        self._order: Order = order
        self._random = np.random.default_rng(seed)
        self._claims: dict[str, Claim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    @property
    def room(self) -> int:
        return self._capacity - len(self._claims)

    @property
    def claims(self) -> list[Claim]:
        return list(self._claims.values())

    def hold(self, claims: Sequence[Claim]) -> None:
        assert len(claims) <= self.room
        self._claims |= {claim.group_id: claim for claim in claims}

    def forget(self, group_ids: Collection[str]) -> None:
        for group_id in group_ids:
            self._claims.pop(group_id, None)

    def take(self, count: int) -> list[Claim]:
        """Remove and return `count` groups; groups drawn by priority have the weight that corrects for it."""
        waiting = self.claims
        if self._order == "oldest" or count == len(waiting):
            taken = waiting[:count]
        else:
            chances = draw_chances(waiting)
            places = self._random.choice(len(waiting), size=count, replace=False, p=chances)
            weights = correction_weights(chances)
            taken = [
                msgspec.structs.replace(waiting[place], weight=float(weights[place]))
                for place in sorted(places)
            ]
        self.forget([claim.group_id for claim in taken])
        return taken


def draw_chances(claims: Sequence[Claim]) -> NDArray[np.float64]:
    """The probability of each group to be drawn first: its mean |reward - group mean|, bounded, to a power."""
    spread = np.array([_spread(claim) for claim in claims])
    highest = spread.max()
    if highest == 0:
        return np.full(len(claims), 1 / len(claims))
    bounded: NDArray[np.float64] = np.clip(spread / highest, LEAST_PRIORITY, 1.0)
    powers = bounded**PRIORITY_EXPONENT
    chances: NDArray[np.float64] = powers / powers.sum()
    return chances


def correction_weights(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N x P)^-beta, divided by the largest: at most 1, smaller for preferred groups."""
    weights = (len(chances) * chances) ** -CORRECTION_EXPONENT
    scaled: NDArray[np.float64] = weights / weights.max()
    return scaled


def _spread(claim: Claim) -> float:
    """A group of one has no mean to differ from; its spread is its reward."""
    rewards = np.array([episode.rewards.total for episode in claim.episodes])
    center = rewards.mean() if len(rewards) > 1 else 0.0
    return float(np.abs(rewards - center).mean())
