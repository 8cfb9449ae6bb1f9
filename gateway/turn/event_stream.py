"""Sends a reply to the client, in any dialect: as a whole body, or as events, each sent at once."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from starlette.types import Send

from gateway.request.request import ReplyHead
from gateway.turn.output_builder import Piece

SERVER_SENT_EVENTS = "text/event-stream; charset=utf-8"


class Sink(Protocol):
    """Receives a turn while it is sampled."""

    async def start(self, head: ReplyHead) -> None: ...
    async def piece(self, piece: Piece) -> None: ...


class KeepAlive(NamedTuple):
    """What a dialect sends while the model is silent, so that no proxy closes the connection."""

    data: bytes
    after_seconds: float


class EventStream:
    """A streamed body over one ASGI connection. Its headers are sent with the first event."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sent_at = 0.0
        self.has_started = False

    @asynccontextmanager
    async def kept_alive(self, keep_alive: KeepAlive) -> AsyncIterator[None]:
        """While the block runs, fill each silence of a started stream."""

        async def watch() -> None:
            while True:
                await asyncio.sleep(keep_alive.after_seconds)
                silent_seconds = time.monotonic() - self._sent_at
                if self.has_started and silent_seconds >= keep_alive.after_seconds:
                    await self.send(keep_alive.data)

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()

    async def start(
        self, head: ReplyHead, data: bytes, *, media_type: str = SERVER_SENT_EVENTS
    ) -> None:
        headers = [
            (b"content-type", media_type.encode()),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *_turn_headers(head),
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.has_started = True
        await self.send(data)

    async def send(self, data: bytes) -> None:
        self._sent_at = time.monotonic()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data})


async def send_whole(send: Send, head: ReplyHead, body: bytes) -> None:
    """Send an unstreamed reply."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *_turn_headers(head),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _turn_headers(head: ReplyHead) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-turngate-episode", head.episode_id.encode()),
        (b"x-turngate-turn", head.turn_id.encode()),
        (b"x-turngate-policy-version", b"%d" % head.policy_version),
    ]
