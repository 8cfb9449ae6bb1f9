"""The episodes of the demo so far: held-out ones before and after, and training ones by policy version."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from deploy.demo.harness import Played

WINDOW_VERSIONS = 3  # of 64 episodes each


@dataclass(frozen=True, slots=True)
class Success:
    """Wins out of some episodes, with the Wilson score interval at 95 %."""

    wins: int
    episodes: int

    @classmethod
    def of(cls, played: Sequence[Played]) -> "Success":
        return cls(sum(p.reward == 1 for p in played), len(played))

    @property
    def rate(self) -> float:
        return self.wins / self.episodes if self.episodes else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson (1927): (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)."""
        n, p, z = self.episodes, self.rate, 1.959964
        if n == 0:
            return 0.0, 1.0
        center = p + z * z / (2 * n)
        margin = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max(0.0, (center - margin) / scale), min(1.0, (center + margin) / scale)


@dataclass(slots=True)
class History:
    before: list[Played] = field(default_factory=list)
    after: list[Played] = field(default_factory=list)
    trained: list[Played] = field(default_factory=list)

    @property
    def everything(self) -> Iterable[Played]:
        return [*self.before, *self.trained, *self.after]

    @property
    def generated_tokens(self) -> int:
        return sum(played.output_tokens for played in self.everything)

    def by_version(self) -> dict[int, list[Played]]:
        """Training episodes by the policy version of their last reply, in ascending order."""
        versions: dict[int, list[Played]] = defaultdict(list)
        for played in self.trained:
            versions[played.version].append(played)
        return dict(sorted(versions.items()))

    def windows(self) -> dict[int, list[Played]]:
        """The same, each version together with those at most WINDOW_VERSIONS // 2 away."""
        reach = WINDOW_VERSIONS // 2
        versions = self.by_version()
        return {
            center: [
                p for v, played in versions.items() if abs(v - center) <= reach for p in played
            ]
            for center in versions
        }
