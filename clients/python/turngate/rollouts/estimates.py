"""pass@k and means, with 95 % intervals.

The rows are what is drawn at random, so intervals are over rows: attempts at one row are alike, and counting each as a draw of its
own would make intervals too short (Miller 2024, arXiv:2411.00640).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964  # 95 % of a normal distribution lie within this many deviations


@dataclass(frozen=True, slots=True)
class Estimate:
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def pass_at_k(passed: Sequence[tuple[int, int]], k: int) -> Estimate:
    """pass@k of rows given as (attempts, attempts that passed): the mean of each row's unbiased estimate.

    1 - C(n - c, k) / C(n, k) for a row with c of n passed (Chen et al. 2021, arXiv:2107.03374).
    """
    values = [1 - math.comb(n - c, k) / math.comb(n, k) for n, c in passed]
    return wilson(sum(values) / len(values), len(values))


def wilson(share: float, count: int) -> Estimate:
    """Wilson's score interval (1927) of the mean of `count` values between 0 and 1.

    The variance of such values is at most share * (1 - share), which a yes or no has. For several attempts a row, whose values
    lie between, the interval is therefore too wide rather than too short; it is never empty, as a bootstrap's is when all are 0.
    """
    spread = Z * Z / count
    center = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return Estimate(share, max(0.0, center - half), min(1.0, center + half))


def mean(values: Sequence[float]) -> Estimate:
    """The mean of rows, with the normal interval of its standard error."""
    middle = sum(values) / len(values)
    if len(values) < 2:
        return Estimate(middle, -math.inf, math.inf)
    variance = sum((value - middle) ** 2 for value in values) / (len(values) - 1)
    half = Z * math.sqrt(variance / len(values))
    return Estimate(middle, middle - half, middle + half)
