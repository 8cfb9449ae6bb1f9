"""What a grader is: a function of an answer and its row, which may block, and may be a coroutine."""

import inspect
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from turngate.datasets.row import Row
from turngate.errors import GradingFailed
from turngate.own_loop import in_thread, run_blocking

E = TypeVar("E")
R = TypeVar("R")
Grade = Callable[[str, Row], float] | Callable[[str, Row], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class GradedAgent(Generic[E, R]):
    """An agent and who grades its answers; called, it is the agent."""

    agent: Callable[[E, Row], R]
    grader: "Grader"

    def __call__(self, episode: E, row: Row) -> R:
        return self.agent(episode, row)


@dataclass(frozen=True, slots=True)
class Grader:
    """Decorates an agent; `grade` and `score` say what an answer is worth."""

    function: Grade
    name: str

    def __call__(self, agent: Callable[[E, Row], R]) -> GradedAgent[E, R]:
        return GradedAgent(agent, self)

    def grade(self, answer: str, row: Row) -> float:
        """What the answer is worth."""
        return run_blocking(self.score(answer, row))

    async def score(self, answer: str, row: Row) -> float:
        """The same, awaited; a function that blocks runs in a thread."""
        if inspect.iscoroutinefunction(self.function):
            given = await self.function(answer, row)
        else:
            given = await in_thread(self.function, answer, row)
        if not isinstance(given, int | float):
            raise GradingFailed(f"grader {self.name} returned {given!r:.80}, which is no number")
        return finite(float(given), f"grader {self.name}")


def finite(value: float, source: str) -> float:
    """Raises GradingFailed for what is no reward."""
    if not math.isfinite(value):
        raise GradingFailed(f"{source} returned {value}; a reward is a finite number")
    return value


def grader(function: Grade) -> Grader:
    """Make a function of an answer and its row a grader."""
    return Grader(function, getattr(function, "__name__", "grader"))
