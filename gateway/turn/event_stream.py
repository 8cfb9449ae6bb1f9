"""Sends a reply to the client, in any dialect: as a whole body, or as events."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple, Protocol

from gateway.request.request import ReplyHead
from gateway.turn.output_builder import Piece
from gateway.turn.silence import Silence

SERVER_SENT_EVENTS = "text/event-stream; charset=utf-8"
Header = tuple[bytes, bytes]


class ResponseWriter(Protocol):
    """The connection's end of a reply. What it is given waits while the client does not read, and is dropped when it left."""

    async def start(self, status: int, headers: Sequence[Header]) -> None: ...
    async def write(self, data: bytes) -> None: ...
    async def end(self, data: bytes) -> None: ...


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
    """A streamed body. Its headers are sent with the first event, or after a long silence."""

    def __init__(self, response: ResponseWriter) -> None:
        self._response = response
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
        await self._response.write(data)

    async def end(self, data: bytes) -> None:
        await self._response.end(data)

    async def _send_headers(self, media_type: str, about: Sequence[Header]) -> None:
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
            await self._response.start(200, headers)
            self.has_headers = True


async def send_whole(response: ResponseWriter, head: ReplyHead, body: bytes) -> None:
    """Send an unstreamed reply."""
    await send_json(response, body, *_turn_headers(head))


async def send_json(response: ResponseWriter, body: bytes, *about: Header) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *about,
    ]
    await response.start(200, headers)
    await response.end(body)


def _turn_headers(head: ReplyHead) -> list[Header]:
    return [
        *_episode_header(head.episode_id),
        (b"x-turngate-turn", head.turn_id.encode()),
        (b"x-turngate-policy-version", b"%d" % head.policy_version),
    ]


def _episode_header(episode_id: str) -> list[Header]:
    return [(b"x-turngate-episode", episode_id.encode())]
