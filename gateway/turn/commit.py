"""The commit of a turn, tried again while Redis is away."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from gateway.turn.begin import Begun
from gateway.turn.running_turn import Call
from rollout.episode.episode_records import EpisodeSummary
from rollout.episode.turn import Turn, encode_turn
from rollout.errors import StoreUnavailable

Committed: TypeAlias = tuple[
    int, EpisodeSummary | None
]  # the ordinal, and the episode if it was opened

COMMIT_SECONDS = 15.0  # longer than Redis takes to restart


async def commit(
    call: Call,
    record: Turn,
    reply: bytes,
    *,
    begun: Begun,
    kept: tuple[str, bytes],
    said: Sequence[str],
) -> Committed:
    """Commit, and try again while Redis is away; the usual first try does without the cost of `retry`."""
    attempt = partial(
        _commit, call, record, encode_turn(record), reply, begun=begun, kept=kept, said=said
    )
    try:
        return await attempt()
    except StoreUnavailable:
        return await _again(attempt)


@retry(
    retry=retry_if_exception_type(StoreUnavailable),
    wait=wait_exponential_jitter(multiplier=0.1, max=1.0),
    stop=stop_after_delay(COMMIT_SECONDS),
    reraise=True,
)
async def _again(attempt: Callable[[], Awaitable[Committed]]) -> Committed:
    """A second commit of the same turn changes nothing, so it is safe to try until Redis answers."""
    return await attempt()


async def _commit(
    call: Call,
    record: Turn,
    encoded: bytes,
    reply: bytes,
    *,
    begun: Begun,
    kept: tuple[str, bytes],
    said: Sequence[str],
) -> Committed:
    continues, messages = kept
    if begun.opening is not None:
        return await call.store.commit_first(
            begun.opening,
            record,
            encoded=encoded,
            attempt=call.attempt,
            reply=reply,
            messages=messages,
            said=said,
        )
    ordinal = await call.store.commit(
        call.address.episode_id,
        record,
        encoded=encoded,
        attempt=call.attempt,
        since=begun.since,
        reply=reply,
        continues=continues,
        messages=messages,
        said=said,
    )
    return ordinal, None
