"""Calls that are repeated: the same key and body get the recorded reply or the one being made, never a second sample.

SDKs repeat a call without a key of their own but count the repeats in a header, so there the body is the key.
"""

from asyncio import Future, get_running_loop
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import blake2b

import msgspec

from gateway.request import Reply


class Retry(msgspec.Struct, frozen=True):
    key: str  # "" if the call cannot be told from a new one
    body_digest: str
    is_repeat: bool  # it may have been answered before

    @classmethod
    def none(cls) -> "Retry":
        return cls("", "", is_repeat=False)

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes], body: bytes) -> "Retry":
        digest = blake2b(body, digest_size=16).hexdigest()
        given = headers.get(b"idempotency-key")
        if given:
            return cls(f"key:{given.decode('latin-1')[:255]}", digest, is_repeat=True)
        count = headers.get(b"x-stainless-retry-count")
        if count is not None:
            return cls(f"body:{digest}", digest, is_repeat=count.strip() not in (b"", b"0"))
        return cls("", digest, is_repeat=False)


class Running:
    """A turn in progress, or the reply of the one this call has joined."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply = reply


class RunningTurns:
    """The turns of this gateway that a repeated call may still join."""

    def __init__(self) -> None:
        self._replies: dict[tuple[str, str, str, str], Future[Reply | None]] = {}

    @asynccontextmanager
    async def join(self, project: str, episode_id: str, retry: Retry) -> AsyncIterator[Running]:
        """Wait for the same call if it is running; otherwise be the one that runs."""
        place = (project, episode_id, retry.key, retry.body_digest)
        while retry.is_repeat and place in self._replies:
            reply = await _shielded(self._replies[place])
            if reply is not None:
                yield Running(reply)
                return
        if not retry.key:
            yield Running()
            return
        future: Future[Reply | None] = get_running_loop().create_future()
        self._replies[place] = future
        running = Running()
        try:
            yield running
        finally:
            future.set_result(running.reply)
            if self._replies.get(place) is future:
                del self._replies[place]


async def _shielded(future: Future[Reply | None]) -> Reply | None:
    """A waiter that leaves must not cancel what others wait for."""
    waiter: Future[None] = get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    await waiter
    return future.result()
