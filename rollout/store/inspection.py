"""Reads everything that the store keeps, as it is, for an audit. Nothing here assumes that the data is sound.

One script reads some episodes or groups at one moment; between two calls the store may change.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeAlias, cast

import msgspec

from rollout.store.redis_decoding import Flat
from rollout.store.transitions import Transitions

Counted: TypeAlias = list[bytes | int]  # name, number, name, number, ...

COUNTED_AT_ONCE = 100_000  # one script that counts them keeps Redis for about 0.1 seconds


class EpisodeInspection(msgspec.Struct, frozen=True, gc=False):
    """One episode, its parts undecoded; `indexes` holds its scores in the sorted sets that name it."""

    id: str
    header: Mapping[str, str]
    turns: tuple[bytes, ...]
    turn_ids: tuple[str, ...]
    turn_owners: tuple[str, ...]  # the episode that the hash `turns` names for each id
    rewards: Mapping[str, str]
    reward_log: tuple[bytes, ...]
    reward_keys: Mapping[str, bytes]
    advantage_bytes: int | None
    indexes: Mapping[str, float]
    group_status: str
    is_member: bool
    unreadable: tuple[str, ...]

    @property
    def is_gone(self) -> bool:
        """Whether nothing at all is left of it."""
        parts = (self.header, self.turns, self.turn_ids, self.rewards, self.reward_log)
        return not any(parts) and not self.indexes and not self.unreadable

    @property
    def status(self) -> str:
        return self.header.get("status", "")

    @property
    def disposition(self) -> str:
        """`trained`, the reason it was discarded, or nothing while it is live."""
        return self.header.get("reason", "") or (self.status if self.status == "trained" else "")

    @property
    def trained_into(self) -> int:
        """The version of a trained episode, else -1."""
        version = self.number("policy_version") if self.status == "trained" else None
        return -1 if version is None else version

    def number(self, field: str) -> int | None:
        """A number of the header; None if there is none, or something else."""
        text = self.header.get(field, "")
        return int(text) if text.removeprefix("-").isdecimal() else None


class GroupInspection(msgspec.Struct, frozen=True, gc=False):
    """One group, its members with their status, and its scores in the queues."""

    id: str
    fields: Mapping[str, str]
    members: Mapping[str, str]
    queues: Mapping[str, float]
    num_placed: int  # members that have a place of admission
    unreadable: tuple[str, ...]

    @property
    def is_gone(self) -> bool:
        """Whether nothing at all is left of it."""
        return not (self.fields or self.members or self.queues or self.unreadable)

    def number(self, field: str) -> int:
        """A number of the hash; -1 if there is none, or something else."""
        text = self.fields.get(field, "")
        return int(text) if text.removeprefix("-").isdecimal() else -1


class CountInspection(msgspec.Struct, frozen=True, gc=False):
    """The totals, and the same counts made anew at the same moment; empty if there are too many episodes."""

    totals: Mapping[str, str]
    counted: Mapping[str, int]
    version: int  # the policy version that was reserved last
    weights: Mapping[str, float]  # of rewards, by name
    holders: Mapping[str, str]  # of places of admission
    places: Mapping[str, int]  # counted anew


class InspectionReads(Transitions):
    """What an audit reads."""

    async def inspect_episodes(self, ids: Sequence[str]) -> list[EpisodeInspection]:
        """Everything about these episodes; an episode that does not exist has an empty header."""
        reply = cast("list[list[object]]", await self._run("inspect_episodes", *ids))
        return [_episode(id_, parts) for id_, parts in zip(ids, reply, strict=True)]

    async def inspect_groups(self, ids: Sequence[str]) -> list[GroupInspection]:
        """Everything about these groups; a group that does not exist has no fields."""
        reply = cast(
            "list[tuple[Flat, Flat, Flat, int, Flat]]", await self._run("inspect_groups", *ids)
        )
        return [
            GroupInspection(
                id_,
                _texts(fields),
                _texts(members),
                {name: float(score) for name, score in _texts(queues).items()},
                num_placed,
                tuple(map(_text, unreadable)),
            )
            for id_, (fields, members, queues, num_placed, unreadable) in zip(
                ids, reply, strict=True
            )
        ]

    async def inspect_index(self, name: str) -> AsyncIterator[list[str]]:
        """The ids in a sorted set, or the fields of a hash, in parts; an id may come twice while it changes."""
        cursor = b"0"
        while True:
            reply = await self._run("inspect_index", name, cursor)
            cursor, ids = cast("tuple[bytes, Flat]", reply)
            yield list(map(_text, ids))
            if cursor == b"0":
                return

    async def inspect_counts(self) -> CountInspection:
        """The totals, beside what a count of all episodes gives."""
        reply = await self._run("inspect_counts", COUNTED_AT_ONCE)
        totals, counted, version, weights, holders, places = cast(
            "tuple[Flat, Counted, bytes, Flat, Flat, Counted]", reply
        )
        return CountInspection(
            _texts(totals),
            _numbers(counted),
            int(version),
            {name: float(weight) for name, weight in _texts(weights).items()},
            _texts(holders),
            _numbers(places),
        )


def _episode(id_: str, parts: list[object]) -> EpisodeInspection:
    (
        header,
        turns,
        turn_ids,
        owners,
        rewards,
        log,
        keys,
        size,
        indexes,
        status,
        place,
        unreadable,
    ) = parts
    answers = cast("Flat", keys)
    return EpisodeInspection(
        id=id_,
        header=_texts(cast("Flat", header)),
        turns=tuple(cast("Flat", turns)),
        turn_ids=tuple(map(_text, cast("Flat", turn_ids))),
        turn_owners=tuple(map(_text, cast("Flat", owners))),
        rewards=_texts(cast("Flat", rewards)),
        reward_log=tuple(cast("Flat", log)),
        reward_keys=dict(zip(map(_text, answers[::2]), answers[1::2], strict=True)),
        advantage_bytes=None if size == -1 else cast("int", size),
        indexes={name: float(score) for name, score in _texts(cast("Flat", indexes)).items()},
        group_status=_text(status),
        is_member=bool(place),
        unreadable=tuple(map(_text, cast("Flat", unreadable))),
    )


def _texts(flat: Flat) -> dict[str, str]:
    return dict(zip(map(_text, flat[::2]), map(_text, flat[1::2]), strict=True))


def _numbers(flat: Counted) -> dict[str, int]:
    return {_text(n): int(c) for n, c in zip(flat[::2], flat[1::2], strict=True)}


def _text(value: object) -> str:
    """Bytes that are no text keep their place as escapes; anything that is not bytes was unreadable."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else ""
