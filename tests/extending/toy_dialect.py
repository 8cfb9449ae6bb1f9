"""A wire format of its own, in one file: the body is the prompt as plain text, the reply is lines of JSON."""

import orjson

from gateway.errors import ApiError, BadRequest
from gateway.parsing.deltas import ContentDelta
from gateway.request.conversation_hash import print_of
from gateway.request.model_name import ALIAS
from gateway.request.request import ChatMessage, Reply, ReplyHead, Request
from gateway.turn.event_stream import EventStream, KeepAlive
from gateway.turn.output_builder import Piece
from rollout.engine.generation import SamplingParameters

ASK, FOLLOW = "/toy/ask", "/toy/ask/follow"  # the second is streamed


class ToyDialect:
    paths = (ASK, FOLLOW)
    id_prefix = "toy:"
    keep_alive = KeepAlive(b"{}\n", "application/x-ndjson")
    token_count = None

    def parse(self, body: bytes, *, path: str) -> Request:
        if not body:
            raise BadRequest("ask something", code="empty")
        message: ChatMessage = {"role": "user", "content": body.decode()}
        return Request(
            model=ALIAS,
            messages=[message],
            prints=[print_of(message)],
            sampling=SamplingParameters(),
            stream=path == FOLLOW,
        )

    def render(self, request: Request, reply: Reply) -> bytes:
        return line(reply=self.id_prefix + reply.turn_id, text=reply.choices[0].content)

    def stream(self, request: Request, events: EventStream) -> "ToyStream":
        return ToyStream(events)

    def error_body(self, error: ApiError) -> bytes:
        return line(wrong=error.message, why=error.code)


class ToyStream:
    def __init__(self, events: EventStream) -> None:
        self._events = events

    async def start(self, head: ReplyHead) -> None:
        begun = line(reply=ToyDialect.id_prefix + head.turn_id)
        await self._events.start(head, begun, media_type="application/x-ndjson")

    async def piece(self, piece: Piece) -> None:
        texts = (delta.text for delta in piece.deltas if isinstance(delta, ContentDelta))
        await self._events.send(line(more="".join(texts)))

    async def finish(self, reply: Reply) -> None:
        await self._events.end(line(end=reply.choices[0].finish_reason))

    async def fail(self, error: ApiError) -> None:
        await self._events.end(line(wrong=error.message, why=error.code))


def line(**fields: object) -> bytes:
    return orjson.dumps(fields) + b"\n"
