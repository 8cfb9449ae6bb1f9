"""Turns the nested lists of Redis replies into our records."""

from collections.abc import Iterator
from typing import TypeAlias, cast

from rollout.episode.episode_records import EpisodeView, parse_header
from rollout.episode.reward import RewardPlace, Rewards
from rollout.episode.turn import decode_turn

Header: TypeAlias = list[bytes | None]
Flat: TypeAlias = list[bytes]  # field, value, field, value, ...


def parse_view(reply: object) -> EpisodeView:
    """Header, turns, rewards, reward weights and advantages."""
    header, turns, rewards, weights, advantages = cast(
        "tuple[Header, list[bytes], Flat, Flat, bytes | None]", reply
    )
    return EpisodeView(
        parse_header(header),
        tuple(decode_turn(data) for data in turns),
        parse_rewards(rewards, weights),
        advantages,
    )


def parse_rewards(rewards: Flat, weights: Flat) -> Rewards:
    """Rewards by the fields of their places, weights by name."""
    values = {RewardPlace.parse(field): float(value) for field, value in pairs(rewards)}
    return Rewards(values, {name: float(weight) for name, weight in pairs(weights)})


def pairs(flat: Flat) -> Iterator[tuple[str, str]]:
    """Fields and values of a hash, sorted by field, so that sums do not depend on the order of insertion."""
    entries = zip(flat[::2], flat[1::2], strict=True)
    return ((field.decode(), value.decode()) for field, value in sorted(entries))
