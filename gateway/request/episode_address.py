"""The episode of a call, and what the call's headers say of the episode and of the turn."""

import os
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.errors import BadRequest
from gateway.request.identifiers import checked_id
from rollout.episode.episode_records import HistoryPolicy

Kind = Literal["train", "side"]


class EpisodeAddress(msgspec.Struct, frozen=True):
    """The episode of a call, and the fields it gets if the call opens it."""

    episode_id: str
    group_id: str | None = None
    group_size: int | None = None
    kind: Kind = "train"  # of the episode
    turn_kind: Kind = "train"
    history: HistoryPolicy | None = None
    is_named: bool = True  # the caller names the episode or the group, and so waits for admission
    max_group_size: int = 65_536
    found_by: str = ""
    thread: str = ""
    notes: tuple[str, ...] = ()
    is_fresh: bool = False  # its id was minted for this call, so nobody else knows it
    is_found_by_words: bool = (
        False  # later calls of the conversation may have nothing else to be found by
    )


def new_episode_id() -> str:
    return "ep_" + os.urandom(12).hex()


def group_of(headers: Mapping[bytes, bytes]) -> str | None:
    group_id = _header(headers, b"x-turngate-group")
    return checked_id(group_id, "group") if group_id else None


def group_size_of(headers: Mapping[bytes, bytes], most: int) -> int | None:
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


def turn_kind(headers: Mapping[bytes, bytes]) -> Kind | None:
    """None if the caller does not say."""
    match _header(headers, b"x-turngate-turn-kind"):
        case None | "":
            return None
        case "train":
            return "train"
        case "side":
            return "side"
    raise BadRequest(
        "X-Turngate-Turn-Kind must be train or side",
        param="X-Turngate-Turn-Kind",
        code="invalid_value",
    )


def history_of(headers: Mapping[bytes, bytes]) -> HistoryPolicy | None:
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
