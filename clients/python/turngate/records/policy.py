"""Policies and the training that makes them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the held-out episodes of one policy earned."""

    mean_reward: float
    episodes: int
    standard_error: float | None


@dataclass(frozen=True, slots=True)
class Policy:
    version: int
    parent: int | None
    path: str
    created: int
    is_active: bool
    is_on_disk: bool
    is_best: bool
    evaluation: Evaluation | None


@dataclass(frozen=True, slots=True)
class Activation:
    version: int | None
    pinned: bool


@dataclass(frozen=True, slots=True)
class Model:
    id: str
    created: int


@dataclass(frozen=True, slots=True)
class Training:
    step: int | None
    policy_version: int | None
    paused: bool
    backlog: dict[str, int]
    staleness: float | None
    metrics: dict[str, object]
    pinned: bool = False
