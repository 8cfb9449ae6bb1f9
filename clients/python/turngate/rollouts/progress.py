"""How far a run is. A terminal gets one line that changes, anything else a line for each tenth."""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

from turngate.rollouts.attempt import Attempt


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int
    rewarded: int
    reward_sum: float
    errors: int

    @classmethod
    def of(cls, attempts: Collection[Attempt], total: int) -> "Progress":
        rewards = [attempt.reward for attempt in attempts if attempt.reward is not None]
        errors = sum(attempt.error is not None for attempt in attempts)
        return cls(len(attempts), total, len(rewards), sum(rewards), errors)

    @property
    def mean_reward(self) -> float | None:
        return self.reward_sum / self.rewarded if self.rewarded else None

    def __str__(self) -> str:
        mean = "" if self.mean_reward is None else f", mean reward {self.mean_reward:.3f}"
        errors = f", {self.errors} errors" if self.errors else ""
        return f"{self.done}/{self.total}{mean}{errors}"


Show = Callable[[Progress], None]


def show_progress(progress: Progress) -> None:
    """Write to standard error."""
    ends = progress.done == progress.total
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{progress}" + ("\n" if ends else ""))
    elif ends or progress.done * 10 // progress.total > (progress.done - 1) * 10 // progress.total:
        sys.stderr.write(f"{progress}\n")
    sys.stderr.flush()
