"""A reply as a stream of events, below any dialect: headers at the first event, nothing buffered."""

from typing import Protocol

import msgspec

from gateway.middleware import Send
from gateway.request.request import Reply
from gateway.turn.output_builder import Piece


class Opening(msgspec.Struct, frozen=True):
    """What is known when the first token arrives."""

    turn_id: str
    episode_id: str
    created: int
    policy_version: int
    prompt_token_ids: list[int] | None

    @classmethod
    def of(cls, reply: Reply) -> "Opening":
        return cls(
            reply.turn_id,
            reply.episode_id,
            reply.created,
            reply.policy_version,
            reply.prompt_token_ids,
        )

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"x-turngate-episode", self.episode_id.encode()),
            (b"x-turngate-turn", self.turn_id.encode()),
            (b"x-turngate-policy-version", b"%d" % self.policy_version),
        ]


class Sink(Protocol):
    """Where a turn goes while it is sampled."""

    async def start(self, opening: Opening) -> None: ...
    async def piece(self, piece: Piece) -> None: ...


class EventStream:
    """Server-sent events over one ASGI connection."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def start(self, opening: Opening, data: bytes) -> None:
        self.has_started = True
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *opening.headers,
        ]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send(data)

    async def send(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data})
