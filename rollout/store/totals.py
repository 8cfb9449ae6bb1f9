"""The project's counts, all read at one moment: opened = live + trained + every discarded."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from rollout.episode.episode_status import DiscardReason, EpisodeStatus

TRAINER = "trainer"
Name = TypeVar("Name", bound=str)


class Places(msgspec.Struct, frozen=True, gc=False):
    """Who holds how many places of admission: the keys those of their episodes, the trainer those that it claimed."""

    by_holder: Mapping[str, int] = {}
    limit: int = 0  # 0: none
    key_limit: int = 0

    @property
    def by_key(self) -> dict[str, int]:
        """Without the trainer."""
        return {key: held for key, held in self.by_holder.items() if key != TRAINER}

    @property
    def claimed(self) -> int:
        return self.by_holder.get(TRAINER, 0)


class Totals(msgspec.Struct, frozen=True, gc=False):
    """How many episodes were opened, and how many have each status or disposition; `groups` counts ready and claimed."""

    opened: int
    live: Mapping[EpisodeStatus, int]
    trained: int
    discarded: Mapping[DiscardReason, int]
    reward_sum: float
    reward_count: int
    settled_tokens: Mapping[str, int]  # sampled in settled episodes, by disposition
    delivered_tokens: int  # of these, the tokens that reached a gradient
    groups: Mapping[str, int]
    reserved_episodes: int
    places: Places  # their sum is `reserved_episodes`
    damaged_records: int  # records that were moved aside because they could not be read

    @property
    def dispositions(self) -> dict[str, int]:
        """Settled episodes by disposition."""
        return {"trained": self.trained} | {r.value: n for r, n in self.discarded.items()}


def added(one: Totals, other: Totals) -> Totals:
    """The counts of two shards."""
    held = _sums(one.places.by_holder, other.places.by_holder)
    limits = one.places.limit + other.places.limit, one.places.key_limit + other.places.key_limit
    return Totals(
        opened=one.opened + other.opened,
        live=_sums(one.live, other.live),
        trained=one.trained + other.trained,
        discarded=_sums(one.discarded, other.discarded),
        reward_sum=one.reward_sum + other.reward_sum,
        reward_count=one.reward_count + other.reward_count,
        settled_tokens=_sums(one.settled_tokens, other.settled_tokens),
        delivered_tokens=one.delivered_tokens + other.delivered_tokens,
        groups=_sums(one.groups, other.groups),
        reserved_episodes=one.reserved_episodes + other.reserved_episodes,
        places=Places(held, *limits),
        damaged_records=one.damaged_records + other.damaged_records,
    )


def _sums(one: Mapping[Name, int], other: Mapping[Name, int]) -> dict[Name, int]:
    return {
        name: one.get(name, 0) + other.get(name, 0)
        for name in (*one, *(n for n in other if n not in one))
    }


LIVE = [status for status in EpisodeStatus if status.is_live]
DISPOSITIONS = ["trained", *(reason.value for reason in DiscardReason)]


def parse_totals(
    counts: Mapping[str, str],
    *,
    ready: int,
    claimed: int,
    places: Places,
    damaged_records: int = 0,
) -> Totals:
    """Read the totals hash."""
    return Totals(
        opened=int(counts.get("opened", 0)),
        live={status: int(counts.get(status, 0)) for status in LIVE},
        trained=int(counts.get("trained", 0)),
        discarded={reason: int(counts.get(reason, 0)) for reason in DiscardReason},
        reward_sum=float(counts.get("reward_sum", 0)),
        reward_count=int(counts.get("reward_count", 0)),
        settled_tokens={name: int(counts.get(f"tokens {name}", 0)) for name in DISPOSITIONS},
        delivered_tokens=int(counts.get("delivered_tokens", 0)),
        groups={"ready": ready, "claimed": claimed},
        reserved_episodes=int(counts.get("reserved", 0)),
        places=places,
        damaged_records=damaged_records,
    )


def parse_places(holders: Mapping[str, str], limit: int = 0, key_limit: int = 0) -> Places:
    """Read the hash of holders; without a limit for keys each may hold all."""
    held = {name: int(number) for name, number in holders.items()}
    return Places(held, limit, key_limit or limit)
