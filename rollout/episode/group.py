"""Episodes of one task that are compared with each other, and a trainer's claim on them."""

from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from rollout.episode.episode_records import EpisodeView
from rollout.episode.episode_status import EpisodeStatus

# The token whose age decides whether a group is stale: its oldest, its newest, or none.
JudgedBy: TypeAlias = Literal["oldest", "newest", "none"]


class GroupStatus(StrEnum):
    """The states that a group passes through."""

    OPEN = "open"
    READY = "ready"
    CLAIMED = "claimed"
    TRAINED = "trained"
    DISCARDED = "discarded"


class GroupView(msgspec.Struct, frozen=True, gc=False):
    """One consistent reading of a group."""

    id: str
    status: GroupStatus
    size: int | None
    members: tuple[tuple[str, EpisodeStatus], ...]
    deadline_ms: int | None
    deliveries: int

    @property
    def num_rewarded(self) -> int:
        good = (EpisodeStatus.REWARDED, EpisodeStatus.CLAIMED, EpisodeStatus.TRAINED)
        return sum(status in good for _, status in self.members)

    @property
    def num_sealed(self) -> int:
        return sum(status is not EpisodeStatus.OPEN for _, status in self.members)


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A group held under a lease, with its rewarded episodes."""

    group_id: str
    episodes: tuple[EpisodeView, ...]
    deliveries: int
    weight: float = 1.0  # of its loss; below 1 for a group that was preferred to others
