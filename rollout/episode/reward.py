"""Single rewards, and all rewards of an episode added up.

Only this module weights reward names, by the weights that the project keeps in the store; a name without one counts once.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec


class RewardPlace(NamedTuple):
    """What a reward is for; a new value for the same place amends the old one."""

    turn_id: str | None  # None: the whole episode
    choice: int | None  # one output of a turn that has several; None: the turn
    name: str

    @classmethod
    def parse(cls, field: str) -> "RewardPlace":
        """Read what `field` writes. Raises ValueError."""
        address, _, name = field.partition("|")
        turn_id, _, choice = address.partition("#")
        if not turn_id or not name:
            raise ValueError(f"{field[:64]!r} is no place of a reward")
        return cls(None if turn_id == "*" else turn_id, int(choice) if choice else None, name)

    @property
    def field(self) -> str:
        """`*|<name>`, `<turn>|<name>` or `<turn>#<choice>|<name>`."""
        choice = "" if self.choice is None else f"#{self.choice}"
        return f"{self.turn_id or '*'}{choice}|{self.name}"


class Reward(msgspec.Struct, frozen=True, gc=False):
    """One reward, for the whole episode, for one of its turns or for one choice of a turn."""

    value: float
    name: str = "reward"
    turn_id: str | None = None
    idempotency_key: str | None = None
    choice: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not math.isfinite(self.value):
            raise ValueError(f"reward {self.name} is {self.value}; it must be a finite number")
        if not self.name or "|" in self.name:
            raise ValueError(f"reward name {self.name!r} must be non-empty and without '|'")
        if self.turn_id is not None and (self.turn_id == "*" or set("#|") & set(self.turn_id)):
            raise ValueError(f"turn id {self.turn_id!r} must not be '*' or hold '#' or '|'")

    @property
    def place(self) -> RewardPlace:
        return RewardPlace(self.turn_id, self.choice, self.name)


class EpisodeReward(msgspec.Struct, frozen=True, gc=False):
    """A reward, and the episode that it is for; `complete` seals the episode afterwards."""

    episode_id: str
    reward: Reward
    complete: bool = False


class RewardAnswer(msgspec.Struct, frozen=True, gc=False):
    """The recorded reward; repeating an idempotency key gives the same answer."""

    episode_id: str
    place: RewardPlace
    value: float
    created_ms: int
    amended: bool


class Rewards(msgspec.Struct, frozen=True, gc=False):
    """An episode's current rewards."""

    values: Mapping[RewardPlace, float] = {}
    weights: Mapping[str, float] = {}

    @property
    def turns(self) -> dict[str, float]:
        """Weighted reward of each turn that got one, its choices included."""
        totals: dict[str, float] = {}
        for place, value in self.values.items():
            if place.turn_id is not None:
                earned = self._weighted(place.name, value)
                totals[place.turn_id] = totals.get(place.turn_id, 0.0) + earned
        return totals

    def output(self, turn_id: str, choice: int) -> float:
        """Weighted reward of one output: that of its turn, and that of this choice."""
        return math.fsum(
            self._weighted(place.name, value)
            for place, value in self.values.items()
            if place.turn_id == turn_id and place.choice in {None, choice}
        )

    @property
    def choices(self) -> frozenset[tuple[str, int]]:
        """The choices that a reward names, by turn."""
        return frozenset(
            (place.turn_id, place.choice)
            for place in self.values
            if place.turn_id is not None and place.choice is not None
        )

    @property
    def named_turns(self) -> frozenset[str]:
        """The turns that a reward names, or one of whose choices it names."""
        return frozenset(place.turn_id for place in self.values if place.turn_id is not None)

    @property
    def episode(self) -> float:
        """Weighted reward given to the episode as a whole."""
        return math.fsum(
            self._weighted(place.name, value)
            for place, value in self.values.items()
            if place.turn_id is None
        )

    @property
    def total(self) -> float:
        """The weighted sum of all rewards, those of turns included."""
        return math.fsum(self._weighted(place.name, v) for place, v in self.values.items())

    def _weighted(self, name: str, value: float) -> float:
        return self.weights.get(name, 1.0) * value
