"""Repeated calls: the same key and body get the recorded reply, or the one that is being sampled, never a second sample.

A caller may send an `idempotency-key`. SDKs send none but count their retries in a header, so the body's digest is then the
key. It does not identify the caller: two agents can send the same first call. So a call that names no episode finds the
episode of its first try only by a key that the caller chose.

The attempt that samples a call holds a lease in the store, so a repeat finds it from every gateway. It outlives its client
while a repeat waits for it; if its gateway dies, the lease expires and a repeat samples.
"""

import asyncio
import os
import re
from collections.abc import Container, Coroutine, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b, sha256
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from gateway.request.request import Reply
from rollout.episode.attempt import JOINED, Attempt
from rollout.errors import StoreUnavailable

MAX_KEY_BYTES = 255
# Each begins with literal text, which is found ten times faster than a choice of texts.
_STREAM = re.compile(rb',"stream": ?(?:true|false)')
_LIMIT = re.compile(rb'"max_tokens": ?[0-9]+')
RENEW_SECONDS = 4.0  # the lease lasts 15 s, so that it survives a restart of Redis
WANTED_SECONDS = 1.0  # how often a turn without a client asks whether a repeat waits for it


class Renew(Protocol):
    """Keeps the lease of an attempt; returns whether a repeat waits for its reply."""

    async def __call__(self, episode_id: str, attempt: Attempt, *, has_begun: bool) -> bool: ...


def read_attempt(headers: Mapping[bytes, bytes], body: bytes, *, digest: str = "") -> Attempt:
    """The digest is the body's, if it is known."""
    digest = digest or sha256(body).hexdigest()[:32]
    given = headers.get(b"idempotency-key")
    if given:
        return Attempt(_new_id(), chosen_key(given), digest, is_repeat=True)
    count = headers.get(b"x-stainless-retry-count")
    if count is not None:
        is_repeat = count.strip() not in (b"", b"0")
        return Attempt(_new_id(), f"body:{digest}", digest, is_repeat=is_repeat)
    return Attempt(_new_id(), "", digest)


def read_joined_attempt(headers: Mapping[bytes, bytes], body: bytes, *, is_stream: bool) -> Attempt:
    """Of a client that asks for the reply of a broken stream once more, in one piece: the two are tries of one call.

    Its second body has no `stream`, and may have another limit.
    """
    attempt = read_attempt(headers, _LIMIT.sub(b"", _STREAM.sub(b"", body)))
    if attempt.retry_key.startswith("key:"):
        return attempt
    is_repeat = attempt.is_repeat or not is_stream
    return replace(attempt, retry_key=f"{JOINED}{attempt.body_digest}", is_repeat=is_repeat)


def chosen_key(header: bytes) -> str:
    """The retry key of a caller's own key; a long one is a digest, so that no two are the same."""
    if len(header) > MAX_KEY_BYTES:
        return f"key:sha256:{sha256(header).hexdigest()}"
    return f"key:{header.decode('latin-1')}"


def episode_of_key(retry_key: str, *, key_id: str, purpose: str = "") -> str | None:
    """The episode that a call opens, the same for every repeat; None without a key that the caller chose."""
    if not retry_key.startswith("key:"):
        return None
    digest = blake2b(
        retry_key.encode(), key=key_id.encode()[:64], person=purpose.encode(), digest_size=12
    )
    return f"ep_{digest.hexdigest()}"


def repeated(attempt: Attempt) -> Attempt:
    """Another try of the same call."""
    return replace(attempt, id=_new_id(), is_repeat=True)


class _Lease(NamedTuple):
    """What `renew` is called with."""

    renew: Renew
    episode_id: str
    attempt: Attempt
    begun: Container[str]

    async def renewed(self) -> bool:
        with suppress(StoreUnavailable):
            has_begun = self.attempt.id in self.begun
            return await self.renew(self.episode_id, self.attempt, has_begun=has_begun)
        return False


class RunningTurns:
    """The turns of this gateway whose calls may be repeated. One timer renews the leases of all."""

    def __init__(self, renew_seconds: float = RENEW_SECONDS) -> None:
        self._renew_seconds = renew_seconds
        self._leases: dict[asyncio.Task[Reply], _Lease] = {}  # of turns with a client
        self._begun: set[str] = set()  # attempts that do not wait for another one
        self._timer: asyncio.TimerHandle | None = None
        self._without_client: set[asyncio.Task[None]] = set()

    async def take(
        self, work: Coroutine[None, None, Reply], episode_id: str, attempt: Attempt, renew: Renew
    ) -> Reply:
        """Do the work of a turn, and hold its lease. When the client leaves, it goes on while a repeat wants it."""
        turn = asyncio.create_task(work)
        turn.add_done_callback(lambda _: self._begun.discard(attempt.id))
        lease = self._leases[turn] = _Lease(renew, episode_id, attempt, self._begun)
        if self._timer is None:
            self._start_timer()
        try:
            return await asyncio.shield(turn)
        except asyncio.CancelledError:
            # Nothing is awaited here: a second cancellation would leave the turn without an owner.
            self._keep(_while_wanted(turn, lease))
            raise
        finally:
            del self._leases[turn]

    def begun(self, attempt: Attempt) -> None:
        """Its turn is sampled from now on."""
        self._begun.add(attempt.id)

    async def close(self) -> None:
        """Cancel the turns without a client; a repeat of such a call samples again once the lease has expired."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._without_client:
            task.cancel()
        await asyncio.gather(*self._without_client, return_exceptions=True)

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._renew_seconds, self._renew_all)

    def _renew_all(self) -> None:
        self._timer = None
        if self._leases:
            self._keep(_all_renewed(list(self._leases.values())))
            self._start_timer()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._without_client.add(task)
        task.add_done_callback(self._without_client.discard)


async def _all_renewed(leases: Sequence[_Lease]) -> None:
    await asyncio.gather(*(lease.renewed() for lease in leases))


async def _while_wanted(turn: asyncio.Task[Reply], lease: _Lease) -> None:
    try:
        while not turn.done() and await lease.renewed():
            await asyncio.wait([turn], timeout=WANTED_SECONDS)
    finally:
        await _cancelled(turn)


async def _cancelled(turn: asyncio.Task[Reply]) -> None:
    """Cancel the turn unless it has ended, and wait until the engine's call is aborted and the record written."""
    turn.cancel()
    await asyncio.wait([turn])
    if not turn.cancelled():
        turn.exception()  # nobody is left to receive it


def _new_id() -> str:
    return os.urandom(8).hex()
