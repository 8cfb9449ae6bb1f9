"""Which episode a call belongs to. A carrier names it; else it is found by what the call has in common with earlier ones.

Finding costs one round trip to Redis, and only of calls that no carrier names. What is found yields to carriers without a
word: two runtimes that disagree with a caller's carrier are no conflict, because they do not know of episodes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from gateway.access.caller import Caller
from gateway.finding.carriers import named_episode
from gateway.finding.native_ids import NativeIds, digest, native_ids
from gateway.finding.runtimes import Runtime
from gateway.finding.side_calls import side_call
from gateway.request.episode_address import (
    EpisodeAddress,
    group_of,
    group_size_of,
    history_of,
    new_episode_id,
    turn_kind,
)
from gateway.request.minted_ids import turn_of, written_ids
from gateway.request.request import Request
from gateway.request.said import said_before
from gateway.turn.idempotency import episode_of_key
from rollout.episode.attempt import Attempt
from rollout.store.finding_transitions import Clues
from rollout.store.store import Store

LATEST_IDS, MOST_TURNS = 64, 8  # of those that a call sends back; only the latest are looked up
FOUND_BY = {
    "turn": "an id of an earlier reply",
    "session": "the runtime's session",
    "words": "what was said before",
    "cache_key": "prompt_cache_key",
    "new": "a new episode",
}


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it comes in."""

    request: Request
    headers: Mapping[bytes, bytes]
    caller: Caller
    runtime: Runtime
    attempt: Attempt
    path_episode: str | None


async def find_episode(arrival: Arrival, store: Store, *, max_group_size: int) -> EpisodeAddress:
    """Raises BadRequest for headers that are wrong or disagree."""
    headers, runtime = arrival.headers, arrival.runtime
    ids = native_ids(headers, runtime, in_body=arrival.request.session)
    place = await _place(arrival, ids, store)
    given, group_id = turn_kind(headers), group_of(headers)
    kind = given or "train" if arrival.caller.trains else "side"
    aside = side_call(runtime, arrival.request) if given is None else None
    return EpisodeAddress(
        episode_id=place.episode_id,
        group_id=group_id,
        group_size=group_size_of(headers, max_group_size),
        kind=kind,
        turn_kind=kind if aside is None else "side",
        history=history_of(headers),
        max_group_size=max_group_size,
        is_named=place.is_named or group_id is not None,
        found_by=place.found_by,
        thread=ids.thread_label if ids.thread_label != place.episode_id else "",
        notes=() if aside is None else (f"side call of {runtime.name}: {aside.what}",),
        # Admission of a named group is checked before its call is sampled.
        is_fresh=place.is_fresh and group_id is None,
        is_found_by_words=place.leaves_words,
    )


class _Place(NamedTuple):
    episode_id: str
    found_by: str
    is_named: bool
    leaves_words: bool  # nothing surer than words may find the episode for the next call
    is_fresh: bool = False


async def _place(arrival: Arrival, ids: NativeIds, store: Store) -> _Place:
    named = named_episode(
        arrival.headers,
        key_episode=arrival.caller.episode_id,
        path_episode=arrival.path_episode,
        body_episodes=arrival.request.named_episodes,
    )
    if named is not None:
        return _Place(named.id, named.carrier, is_named=True, leaves_words=False)
    clues = _clues(arrival, ids)
    opened = episode_of_key(arrival.attempt.retry_key, key_id=arrival.caller.key_id)
    episode_id, how = opened or new_episode_id(), "new"
    is_fresh = not opened and not clues.are_there
    if clues.are_there:
        episode_id, how = await store.find(clues, otherwise=episode_id)
    leaves_words = not (clues.turns or clues.session)
    return _Place(
        episode_id, FOUND_BY[how], is_named=False, leaves_words=leaves_words, is_fresh=is_fresh
    )


def _clues(arrival: Arrival, ids: NativeIds) -> Clues:
    """Words are compared only if nothing surer is there."""
    request, runtime = arrival.request, arrival.runtime
    in_text = _ids_in_text(request) if runtime.writes_ids else ()
    latest = request.returned_ids[: -LATEST_IDS - 1 : -1]
    named = map(turn_of, (request.previous_reply or "", *latest, *in_text))
    turns = tuple(dict.fromkeys(turn for turn in named if turn))[:MOST_TURNS]
    is_sure = bool(turns or ids.session)
    cache_key = request.cache_key if runtime.counts_cache_key else None
    return Clues(
        key_id=arrival.caller.key_id,
        turns=turns,
        session=digest(ids.session) if ids.session else "",
        words=() if is_sure else tuple(said_before(request.messages, request.prints)),
        cache_key=f"cache:{digest(cache_key)}" if cache_key else "",
        is_repeat=arrival.attempt.is_repeat and not arrival.attempt.retry_key.startswith("key:"),
    )


def _ids_in_text(request: Request) -> list[str]:
    """Of the model's last answer."""
    for message in reversed(request.messages):
        content = message.get("content")
        if message["role"] == "assistant" and isinstance(content, str):
            return written_ids(content)[:LATEST_IDS]
    return []
