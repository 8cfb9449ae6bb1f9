"""Which policy is best, by what held-out episodes earned: those marked `side`, which never train.

An episode counts for the version that sampled all of it. One that was swapped under way is of several policies and says nothing of either.
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
        """Of the mean; one episode does not tell."""
        if self.episodes < 2:
            return None
        return math.sqrt(self.squares / (self.episodes - 1) / self.episodes)


def ranked(evaluations: Iterable[Evaluation], *, min_episodes: int) -> list[int]:
    """The versions with enough episodes, best first: by the mean less one standard error, a newer one before its equal.

    By the mean alone the fewest episodes win, by luck. The error is deviation / sqrt(episodes) with one deviation for
    all: a version's own is 0 where its few episodes ended alike, which is chance and no certainty. Versions with
    equally many episodes are thus ordered by their means.
    """
    enough = [each for each in evaluations if each.episodes >= min_episodes]
    deviation = _deviation(enough)

    def worth(each: Evaluation) -> tuple[float, int]:
        return each.mean_reward - deviation / math.sqrt(each.episodes), each.version

    return [each.version for each in sorted(enough, key=worth, reverse=True)]


def _deviation(evaluations: Collection[Evaluation]) -> float:
    """Of a reward from the mean of its version: sqrt(sum of squares / sum of (n - 1))."""
    freedom = sum(each.episodes - 1 for each in evaluations)
    squares = sum(each.squares for each in evaluations)
    return math.sqrt(squares / freedom) if freedom else 0.0
