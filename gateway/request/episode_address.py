"""Which episode a call belongs to. Key, path, headers and body may each name it, and must not name two.

A call that names none opens a new episode, which a repeat of the call finds by its idempotency key (`idempotency.py`).
"""

import re
import secrets
from collections.abc import Iterable, Mapping

import msgspec

from gateway.errors import BadRequest
from gateway.request.identifiers import checked_id
from rollout.episode.episode_records import HistoryPolicy


class EpisodeAddress(msgspec.Struct, frozen=True):
    """The episode of a call, and the fields it gets if the call opens it."""

    episode_id: str
    group_id: str | None = None
    group_size: int | None = None
    kind: str = "train"
    history: HistoryPolicy | None = None
    is_named: bool = True  # the caller names the episode or the group, and so waits for admission
    max_group_size: int = 65_536
    found_by: str = ""
    thread: str = ""


def address(
    headers: Mapping[bytes, bytes],
    *,
    key_episode: str | None,
    path_episode: str | None,
    body_episodes: Iterable[str],
    otherwise: str,
    max_group_size: int,
) -> EpisodeAddress:
    """Find the episode named by key, path, headers or body, or else `otherwise`; two that disagree are an error.

    A runtime sends its session's id without knowing of episodes, so that one alone does not count as named.
    """
    named = {
        "the episode key": key_episode,
        "the path": path_episode,
        "X-Turngate-Episode": _header(headers, b"x-turngate-episode"),
        "X-Session-Id": _header(headers, b"x-session-id"),
    }
    named.update({f"the body ({i})": episode for i, episode in enumerate(body_episodes)})
    ids = {carrier: episode for carrier, episode in named.items() if episode}
    if len(set(ids.values())) > 1:
        listed = ", ".join(f"{carrier} names {episode}" for carrier, episode in ids.items())
        raise BadRequest(f"the call names more than one episode: {listed}", code="episode_conflict")
    group_id = _group_id(headers)
    return EpisodeAddress(
        episode_id=checked_id(next(iter(ids.values())), "episode") if ids else otherwise,
        group_id=group_id,
        group_size=_group_size(headers, max_group_size),
        kind=turn_kind(headers),
        history=_history(headers),
        max_group_size=max_group_size,
        is_named=group_id is not None or bool(ids.keys() - {"X-Session-Id"}),
        found_by=next(iter(ids), "a new episode"),
    )


def new_episode_id() -> str:
    return f"ep_{secrets.token_hex(12)}"


def _group_id(headers: Mapping[bytes, bytes]) -> str | None:
    group_id = _header(headers, b"x-turngate-group")
    return checked_id(group_id, "group") if group_id else None


def _group_size(headers: Mapping[bytes, bytes], most: int) -> int | None:
    text = _header(headers, b"x-turngate-group-size")
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= most:
        raise BadRequest(
            f"X-Turngate-Group-Size must be between 1 and {most}, the limit of this installation",
            param="X-Turngate-Group-Size",
            code="invalid_value",
        )
    return int(text)


def turn_kind(headers: Mapping[bytes, bytes]) -> str:
    kind = _header(headers, b"x-turngate-turn-kind") or "train"
    if kind not in ("train", "side"):
        raise BadRequest(
            "X-Turngate-Turn-Kind must be train or side",
            param="X-Turngate-Turn-Kind",
            code="invalid_value",
        )
    return kind


def _history(headers: Mapping[bytes, bytes]) -> HistoryPolicy | None:
    named = _header(headers, b"x-turngate-history")
    if named is None:
        return None
    try:
        return HistoryPolicy(named)
    except ValueError:
        raise BadRequest(
            f"X-Turngate-History must be {' or '.join(HistoryPolicy)}",
            param="X-Turngate-History",
            code="invalid_value",
        ) from None


def _header(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return value.decode("latin-1").strip() if value else None
