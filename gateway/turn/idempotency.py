"""Repeated calls: the same key and body get the recorded reply, or the one that is being sampled, never a second sample.

A caller may send an `idempotency-key`. SDKs send none but count their retries in a header, so the body's digest is then the
key. It does not identify the caller: two agents can send the same first call. So a call that names no episode finds the
episode of its first try only by a key that the caller chose.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from hashlib import blake2b, sha256

import msgspec

from gateway.request.request import Reply
from rollout.errors import RetryMismatch

Work = Coroutine[None, None, Reply]
Place = tuple[str, str, str]  # project, episode, retry key


class Retry(msgspec.Struct, frozen=True):
    key: str  # "" if a repeat of the call could not be recognized
    body_digest: str
    is_repeat: bool  # the call may have been answered before

    @classmethod
    def none(cls) -> "Retry":
        return cls("", "", is_repeat=False)

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes], body: bytes) -> "Retry":
        digest = sha256(body).hexdigest()[:32]
        given = headers.get(b"idempotency-key")
        if given:
            return cls(f"key:{given.decode('latin-1')[:255]}", digest, is_repeat=True)
        count = headers.get(b"x-stainless-retry-count")
        if count is not None:
            return cls(f"body:{digest}", digest, is_repeat=count.strip() not in (b"", b"0"))
        return cls("", digest, is_repeat=False)

    def episode_id(self, key_id: str) -> str | None:
        """The episode of a call that names none, the same for every repeat; None without a key that the caller chose."""
        if not self.key.startswith("key:"):
            return None
        digest = blake2b(self.key.encode(), key=key_id.encode()[:64], digest_size=12)
        return f"ep_{digest.hexdigest()}"


class SharedTurn:
    """A turn that several calls wait for; it is cancelled when the last of them has left."""

    def __init__(self, work: Work, *, body_digest: str) -> None:
        self.body_digest = body_digest
        self.task = asyncio.create_task(work)
        self._num_waiting = 0

    async def ended(self) -> None:
        """Wait until the turn has succeeded or failed."""
        self._num_waiting += 1
        try:
            await asyncio.wait([self.task])
        finally:
            self._num_waiting -= 1
            if self._num_waiting == 0 and not self.task.done():
                self.task.cancel()
                await asyncio.wait(
                    [self.task]
                )  # the engine's call is aborted and the record written

    def reply(self) -> Reply:
        """The turn's reply, or raise its error."""
        return self.task.result()

    @property
    def has_succeeded(self) -> bool:
        return not self.task.cancelled() and self.task.exception() is None


class RunningTurns:
    """The running turns of this gateway, which a repeated call may join."""

    def __init__(self) -> None:
        self._turns: dict[Place, SharedTurn] = {}

    async def take(
        self, project: str, episode_id: str, retry: Retry, run: Callable[[], Work]
    ) -> Reply:
        """Wait for the same call if it is running; otherwise run it. Raises RetryMismatch."""
        place = (project, episode_id, retry.key)
        while retry.is_repeat and (turn := self._turns.get(place)) is not None:
            if turn.body_digest != retry.body_digest:
                raise RetryMismatch(retry.key)
            await turn.ended()
            if turn.has_succeeded:
                return turn.reply()
        turn = self._turns[place] = SharedTurn(run(), body_digest=retry.body_digest)
        turn.task.add_done_callback(lambda _: self._forget(place, turn))
        await turn.ended()
        return turn.reply()

    def _forget(self, place: Place, turn: SharedTurn) -> None:
        """Unless an equal call that is no repeat has taken its place."""
        if self._turns.get(place) is turn:
            del self._turns[place]
