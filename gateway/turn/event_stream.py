"""Sends a reply to the client, in any dialect: as a whole body, or as events, each sent at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from starlette.types import Send

from gateway.request.request import ReplyHead
from gateway.turn.output_builder import Piece
from gateway.turn.silence import Silence

SERVER_SENT_EVENTS = "text/event-stream; charset=utf-8"


class Sink(Protocol):
    """Receives a turn while it is sampled."""

    async def start(self, head: ReplyHead) -> None: ...
    async def piece(self, piece: Piece) -> None: ...


class KeepAlive(NamedTuple):
    """What a dialect sends while the model is silent, so that neither client nor proxy closes the connection."""

    data: bytes
    media_type: str = SERVER_SENT_EVENTS


COMMENT = KeepAlive(b": ping\n\n")


class EventStream:
    """A streamed body over one ASGI connection. Its headers are sent with the first event, or after a long silence."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._silence: Silence | None = None
        self._beginning = asyncio.Lock()
        self.has_headers = False
        self.has_started = False

    @asynccontextmanager
    async def kept_alive(
        self, keep_alive: KeepAlive, *, after_seconds: float, episode_id: str
    ) -> AsyncIterator[None]:
        """While the block runs, fill each silence, the one before the first event too."""

        async def fill() -> None:
            await self._send_headers(keep_alive.media_type, _episode_header(episode_id))
            await self.send(keep_alive.data)

        self._silence = Silence(after_seconds, fill)
        try:
            yield
        finally:
            await self._silence.over()

    async def start(
        self, head: ReplyHead, data: bytes, *, media_type: str = SERVER_SENT_EVENTS
    ) -> None:
        self.has_started = True
        await self._send_headers(media_type, _turn_headers(head))
        await self.send(data)

    async def send(self, data: bytes) -> None:
        if self._silence is not None:
            self._silence.broken()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data})

    async def _send_headers(self, media_type: str, about: Sequence[tuple[bytes, bytes]]) -> None:
        """Once; a keep-alive that is cancelled here leaves them to the first event."""
        async with self._beginning:
            if self.has_headers:
                return
            headers = [
                (b"content-type", media_type.encode()),
                (b"cache-control", b"no-cache"),
                (b"x-accel-buffering", b"no"),
                *about,
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            self.has_headers = True


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
        *_episode_header(head.episode_id),
        (b"x-turngate-turn", head.turn_id.encode()),
        (b"x-turngate-policy-version", b"%d" % head.policy_version),
    ]


def _episode_header(episode_id: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-turngate-episode", episode_id.encode())]
