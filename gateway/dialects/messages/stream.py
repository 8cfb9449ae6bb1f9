"""Anthropic Messages as server-sent events.

A block is closed when another begins; why the reply ended, and how many tokens it has, wait for the commit.
"""

from collections.abc import Iterator

import orjson

from gateway.dialects.messages.errors import error_object
from gateway.dialects.messages.ids import signature
from gateway.dialects.messages.reply import (
    Block,
    counts,
    ending,
    message_object,
    text_block,
    thinking_block,
    tool_use_block,
    usage_object,
)
from gateway.dialects.messages.tool_input import ToolInput
from gateway.errors import ApiError
from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from gateway.request.request import Reply, ReplyHead, Request
from gateway.turn.event_stream import EventStream
from gateway.turn.output_builder import Piece

PING = b'event: ping\ndata: {"type":"ping"}\n\n'


class MessageStream:
    """One streamed message; its events fold to the unstreamed body."""

    def __init__(self, request: Request, events: EventStream) -> None:
        self._shows_thinking = bool(request.echo)
        self._events = events
        self._turn_id = ""
        self._index = -1  # of the block that is open, or was open last
        self._open: str | None = None  # the kind of the block that is open
        self._input = ToolInput()

    async def start(self, head: ReplyHead) -> None:
        self._turn_id = head.turn_id
        message = message_object(
            head,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=usage_object(head.usage) | {"output_tokens": 0},
        )
        await self._events.start(head, _event("message_start", message=message))

    async def piece(self, piece: Piece) -> None:
        events = b"".join(event for delta in piece.deltas for event in self._of(delta))
        if events:
            await self._events.send(events)

    async def finish(self, reply: Reply) -> None:
        """Close the last block; say why the reply ended and how many tokens it has."""
        (choice,) = reply.choices
        delta = ending(choice) | {"stop_details": None, "container": None}
        end = _event("message_delta", delta=delta, usage=counts(reply.usage))
        await self._events.end(b"".join([*self._close(), end, _event("message_stop")]))

    async def fail(self, error: ApiError) -> None:
        """Send the error as an event; no `message_stop` follows."""
        data = orjson.dumps(error_object(error))
        await self._events.end(b"event: error\ndata: " + data + b"\n\n")

    def _of(self, delta: Delta) -> Iterator[bytes]:
        match delta:
            case ReasoningDelta(text=text):
                yield from self._in(
                    "thinking", thinking_block("", self._turn_id) | {"signature": ""}
                )
                if self._shows_thinking:
                    yield self._delta(type="thinking_delta", thinking=text)
            case ContentDelta(text=text):
                yield from self._in("text", text_block(""))
                yield self._delta(type="text_delta", text=text)
            case ToolCallStart(id=id_, name=name):
                yield from self._close()
                self._input = ToolInput()
                yield from self._in("tool_use", tool_use_block(id_, name, {}))
            case ToolArgumentsDelta(text=text):
                yield from self._partial_input(self._input.feed(text))
            case ToolCallEnd():
                yield from self._close()

    def _in(self, kind: str, block: Block) -> Iterator[bytes]:
        """Open a block of this kind, unless one is open."""
        if self._open != kind:
            yield from self._close()
            self._open = kind
            self._index += 1
            yield _event("content_block_start", index=self._index, content_block=block)

    def _close(self) -> Iterator[bytes]:
        if self._open is None:
            return
        if self._open == "thinking":
            yield self._delta(type="signature_delta", signature=signature(self._turn_id))
        elif self._open == "tool_use":
            yield from self._partial_input(self._input.finish())
        self._open = None
        yield _event("content_block_stop", index=self._index)

    def _partial_input(self, text: str) -> Iterator[bytes]:
        if text:
            yield self._delta(type="input_json_delta", partial_json=text)

    def _delta(self, **fields: str) -> bytes:
        return _event("content_block_delta", index=self._index, delta=fields)


def _event(kind: str, **fields: object) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
