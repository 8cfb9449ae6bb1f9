"""What is kept of a run, one JSON line each: a study that was interrupted goes on where it stopped."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.study.cells import Recipe, Run


class Outcome(msgspec.Struct, frozen=True):
    """How held-out success went, and what the updates saw."""

    run: Run
    recipe: Recipe
    success: list[float]  # before the first update, then after every `evaluate_every`
    trained: int  # updates that moved the weights; the rewards of the others taught nothing
    effective_sample_size: float  # of current / behavior, mean of those updates
    silent: float  # fraction of tokens that a clip, a band or a mask kept from training, likewise
    seconds: float

    @property
    def final(self) -> float:
        return self.success[-1]

    @property
    def mean(self) -> float:
        """Over training: the area under the curve, by trapezoids, in units of success."""
        inner = sum(self.success[1:-1]) + (self.success[0] + self.success[-1]) / 2
        return inner / (len(self.success) - 1)

    @property
    def has_collapsed(self) -> bool:
        """Whether training did harm: it ended below where it began."""
        return self.final < self.success[0]


class Outcomes:
    """A file of them."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[Outcome]:
        if not self._file.exists():
            return []
        lines = self._file.read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Outcome) for line in lines]

    def add(self, outcome: Outcome) -> None:
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(outcome) + b"\n")

    def of(self, recipe: Recipe) -> list[Outcome]:
        """One for each run of this recipe, also where two studies at a time have done the same."""
        return list({it.run: it for it in self.read() if it.recipe == recipe}.values())

    def missing(self, wanted: Iterable[Run], recipe: Recipe) -> list[Run]:
        """Those that have not been run by this recipe."""
        done = {outcome.run for outcome in self.of(recipe)}
        return [run for run in wanted if run not in done]
