"""What the environment said about an episode: single rewards, and all of an episode's rewards added up.

Names are weighted in one place, here, with weights the project keeps in the store; a name without a weight counts once.
"""

import math
from collections.abc import Mapping

import msgspec


class Reward(msgspec.Struct, frozen=True, gc=False):
    """One reward, for the whole episode or for one of its turns."""

    value: float
    name: str = "reward"
    turn_id: str | None = None
    idempotency_key: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not math.isfinite(self.value):
            raise ValueError(f"reward {self.name} is {self.value}; it must be a finite number")
        if not self.name or "|" in self.name:
            raise ValueError(f"reward name {self.name!r} must be non-empty and without '|'")

    @property
    def field(self) -> str:
        """The reward's place among the episode's rewards; a new value for it amends the old one."""
        return f"{self.turn_id or '*'}|{self.name}"


class RewardAnswer(msgspec.Struct, frozen=True, gc=False):
    """What was recorded; repeating an idempotency key gives the same answer again."""

    episode_id: str
    turn_id: str | None
    name: str
    value: float
    created_ms: int
    amended: bool


class Rewards(msgspec.Struct, frozen=True, gc=False):
    """An episode's rewards as they stand, by (turn id or None, name)."""

    values: Mapping[tuple[str | None, str], float] = {}
    weights: Mapping[str, float] = {}

    @property
    def turns(self) -> dict[str, float]:
        """Weighted reward of each turn that got one."""
        totals: dict[str, float] = {}
        for (turn_id, name), value in self.values.items():
            if turn_id is not None:
                totals[turn_id] = totals.get(turn_id, 0.0) + self._weighted(name, value)
        return totals

    @property
    def episode(self) -> float:
        """Weighted reward given to the episode as a whole."""
        return math.fsum(
            self._weighted(name, value)
            for (turn, name), value in self.values.items()
            if turn is None
        )

    @property
    def total(self) -> float:
        """Everything the episode earned, turns included."""
        return math.fsum(self._weighted(name, value) for (_, name), value in self.values.items())

    def _weighted(self, name: str, value: float) -> float:
        return self.weights.get(name, 1.0) * value
