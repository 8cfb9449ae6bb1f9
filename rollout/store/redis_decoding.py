"""Turns the nested lists of Redis replies into our records.

What cannot be read raises DamagedEpisode or DamagedRecord, which name it; any other error would be a bug.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar, cast

import msgspec

from rollout.episode import episode_records
from rollout.episode.episode_records import EpisodeHeader, EpisodeSummary, EpisodeView
from rollout.episode.reward import RewardPlace, Rewards
from rollout.episode.turn import Turn, decode_turn
from rollout.errors import DamagedEpisode, DamagedRecord

Header: TypeAlias = list[bytes | None]
Flat: TypeAlias = list[bytes]  # field, value, field, value, ...
Parsed = TypeVar("Parsed")

UNREADABLE = (ValueError, TypeError, KeyError, IndexError, OverflowError, msgspec.MsgspecError)


def parse_header(values: Header) -> EpisodeHeader:
    """Read the fields that `header.lua` asks Redis for."""
    try:
        return episode_records.parse_header(values)
    except UNREADABLE as error:
        raise DamagedEpisode(text(values[0]), f"header: {error}") from error


def parse_summary(episode_id: str, values: Header) -> EpisodeSummary:
    """Read the fields that `begin.lua` asks Redis for."""
    try:
        return episode_records.parse_summary(episode_id, values)
    except UNREADABLE as error:
        raise DamagedEpisode(episode_id, f"header: {error}") from error


def parse_view(reply: object) -> EpisodeView:
    """Header, turns, rewards, reward weights and advantages."""
    values, log, rewards, weights, advantages = cast(
        "tuple[Header, list[bytes], Flat, Flat, bytes | None]", reply
    )
    header = parse_header(values)
    turns = parse_turns(header.id, log)
    if header.status.is_live and len(turns) != header.num_turns:
        raise DamagedEpisode(header.id, f"{len(turns)} of {header.num_turns} turns are there")
    return EpisodeView(header, turns, parse_rewards(header.id, rewards, weights), advantages)


def parse_turns(episode_id: str, log: Sequence[bytes]) -> tuple[Turn, ...]:
    """The turns, each of which continues at a place that an earlier one made."""
    try:
        turns = tuple(decode_turn(data) for data in log)
        made: dict[str, Turn] = {}
        for turn in turns:
            if turn.anchor is not None:
                before = made[turn.anchor.turn_id]
                if turn.anchor.output >= 0:
                    before.outputs[turn.anchor.output]
            made[turn.id] = turn
    except UNREADABLE as error:
        raise DamagedEpisode(episode_id, f"turns: {error!r}") from error
    return turns


def parse_rewards(episode_id: str, rewards: Flat, weights: Flat) -> Rewards:
    """Rewards by the fields of their places, weights by name."""
    try:
        values = {RewardPlace.parse(field): finite(value) for field, value in pairs(rewards)}
    except UNREADABLE as error:
        raise DamagedEpisode(episode_id, f"rewards: {error}") from error
    return Rewards(values, parse_record("reward_weights", weights, parse_weights))


def parse_weights(flat: Flat) -> dict[str, float]:
    return {name: finite(weight) for name, weight in pairs(flat)}


def parse_record(name: str, reply: object, parse: Callable[[Flat], Parsed]) -> Parsed:
    """Read a record of the project."""
    try:
        return parse(cast("Flat", reply))
    except UNREADABLE as error:
        raise DamagedRecord(name, str(error)) from error


def pairs(flat: Flat) -> Iterator[tuple[str, str]]:
    """Fields and values of a hash, sorted by field, so that sums do not depend on the order of insertion."""
    entries = zip(flat[::2], flat[1::2], strict=True)
    return ((field.decode(), value.decode()) for field, value in sorted(entries))


def finite(value: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number


def text(value: bytes | None) -> str:
    """Whatever the bytes are, `set_aside` sends the same ones back."""
    return (value or b"").decode(errors="surrogateescape")
