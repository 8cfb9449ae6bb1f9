"""The commit of a turn, tried again while Redis is away."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from gateway.turn.running_turn import Call
from rollout.episode.turn import Turn, encode_turn
from rollout.errors import StoreUnavailable

COMMIT_SECONDS = 15.0  # longer than Redis takes to restart


async def commit(
    call: Call,
    record: Turn,
    reply: bytes,
    *,
    since: int,
    kept: tuple[str, bytes],
    said: Sequence[str],
) -> int:
    """Commit, and try again while Redis is away; the usual first try does without the cost of `retry`.

    The turn began when its episode had `since` turns.
    """
    attempt = partial(
        _commit, call, record, encode_turn(record), reply, since=since, kept=kept, said=said
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
async def _again(attempt: Callable[[], Awaitable[int]]) -> int:
    """A second commit of the same turn changes nothing, so it is safe to try until Redis answers."""
    return await attempt()


async def _commit(
    call: Call,
    record: Turn,
    encoded: bytes,
    reply: bytes,
    *,
    since: int,
    kept: tuple[str, bytes],
    said: Sequence[str],
) -> int:
    continues, messages = kept
    return await call.store.commit(
        call.address.episode_id,
        record,
        encoded=encoded,
        attempt=call.attempt,
        since=since,
        reply=reply,
        continues=continues,
        messages=messages,
        said=said,
    )
