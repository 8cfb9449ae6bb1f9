"""Ranks policies by the rewards of held-out episodes: those marked `side`, which never train.

An episode counts for the version that sampled all of it. An episode that several versions sampled does not count.
"""

import math
from collections.abc import Collection, Iterable

import msgspec


class Evaluation(msgspec.Struct, frozen=True):
    """The rewards of one version's held-out episodes."""

    version: int
    episodes: int
    mean_reward: float
    squares: float  # of each reward's distance from the mean, added up

    @property
    def standard_error(self) -> float | None:
        """Of the mean; None for a single episode."""
        if self.episodes < 2:
            return None
        return math.sqrt(self.squares / (self.episodes - 1) / self.episodes)


def ranked(evaluations: Iterable[Evaluation], *, min_episodes: int) -> list[int]:
    """The versions with enough episodes, best first: by mean minus one standard error, then the newer one.

    By the mean alone, a version with few lucky episodes would win. The error is deviation / sqrt(episodes) with one
    deviation for all versions, because a version's own is 0 if its few episodes ended alike by chance. So versions with
    the same number of episodes are ordered by their means.
    """
    enough = [each for each in evaluations if each.episodes >= min_episodes]
    deviation = _deviation(enough)

    def worth(each: Evaluation) -> tuple[float, int]:
        return each.mean_reward - deviation / math.sqrt(each.episodes), each.version

    return [each.version for each in sorted(enough, key=worth, reverse=True)]


def _deviation(evaluations: Collection[Evaluation]) -> float:
    """Of rewards from the mean of their version: sqrt(sum of squares / sum of (n - 1))."""
    freedom = sum(each.episodes - 1 for each in evaluations)
    squares = sum(each.squares for each in evaluations)
    return math.sqrt(squares / freedom) if freedom else 0.0
