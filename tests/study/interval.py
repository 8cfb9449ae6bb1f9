"""A mean over seeds with its interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

# Student's t, 97.5 %, for 1, 2, … degrees of freedom; a study has few seeds.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True, slots=True)
class Interval:
    """95 %: mean ± t * s / sqrt(n)."""

    mean: float
    margin: float  # nan of a single value

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        if len(values) < 2:
            return cls(values[0], math.nan)
        deviation = statistics.stdev(values)
        margin = T[len(values) - 2] * deviation / math.sqrt(len(values))
        return cls(statistics.fmean(values), margin)

    @property
    def excludes_zero(self) -> bool:
        return abs(self.mean) > self.margin

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {100 * self.margin:.1f}"
