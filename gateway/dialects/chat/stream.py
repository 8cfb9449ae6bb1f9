"""The OpenAI chat dialect as server-sent events.

Nothing is sent before the engine's first token, so that an error can still be a status. Finish reasons, usage and the
terminator wait for the commit: a client that has seen them has a recorded turn.
"""

import orjson
from msgspec.structs import replace

from gateway.dialects.bodies.openai_errors import error_body
from gateway.dialects.bodies.usage import usage_object
from gateway.dialects.chat.echo import echo_of, finish_reason
from gateway.dialects.chat.reply import head_fields, logprobs_object
from gateway.errors import ApiError
from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from gateway.request.request import Reply, ReplyHead, Request, TokenLogprob, Usage
from gateway.turn.event_stream import EventStream
from gateway.turn.output_builder import Piece

_DONE = b"data: [DONE]\n\n"


class ChatStream:
    """One streamed completion; its chunks fold to the unstreamed body."""

    def __init__(self, request: Request, events: EventStream) -> None:
        self._request = request
        self._events = events
        self._head = b""
        self._echo = echo_of(request)
        self._usage = b',"usage":null' if request.include_usage else b""
        self._counted = Usage(0, 0, 0)

    async def start(self, head: ReplyHead) -> None:
        self._head = _head(head)
        self._count(replace(head.usage, output_tokens=0))
        roles = [
            self._chunk(index, b'{"role":"assistant","content":"","refusal":null}')
            for index in range(self._request.num_outputs)
        ]
        if head.prompt_token_ids is not None:
            ids = b',"prompt_token_ids":' + orjson.dumps(head.prompt_token_ids)
            roles[0] = roles[0].replace(b"}\n\n", ids + b"}\n\n")
        await self._events.start(head, b"".join(roles))

    async def piece(self, piece: Piece) -> None:
        """Send what one engine event gave; logprobs and token ids go with its first chunk."""
        if self._request.counts_always:
            num_tokens = self._counted.output_tokens + piece.num_tokens
            self._count(replace(self._counted, output_tokens=num_tokens))
        delta_of = _older_delta if self._echo.calls_functions else _delta
        deltas = [data for delta in piece.deltas if (data := delta_of(delta)) is not None]
        details = _details(piece.logprobs, piece.token_ids)
        if not deltas and details is not None:
            deltas = [b'{"content":""}']
        if deltas:
            first, *rest = deltas
            chunks = [self._chunk(piece.index, first, details or b"")]
            chunks += [self._chunk(piece.index, data) for data in rest]
            await self._events.send(b"".join(chunks))

    async def finish(self, reply: Reply) -> None:
        """Send each choice's finish reason and, if asked for, the usage; then the terminator."""
        self._count(reply.usage)
        ends = [
            self._chunk(c.index, b"{}", finish=finish_reason(c.finish_reason, self._echo))
            for c in reply.choices
        ]
        if self._request.include_usage:
            usage = orjson.dumps(usage_object(reply.usage))
            ends.append(self._head + b'"choices":[],"usage":' + usage + b"}\n\n")
        await self._events.end(b"".join(ends) + _DONE)

    async def fail(self, error: ApiError) -> None:
        """Send the error as an event; no terminator follows."""
        await self._events.end(b"data: " + error_body(error) + b"\n\n")

    def _count(self, usage: Usage) -> None:
        """Tell the usage so far in the next chunks, if the caller wants it in every one."""
        if self._request.counts_always:
            self._counted = usage
            self._usage = b',"usage":' + orjson.dumps(usage_object(usage))

    def _chunk(
        self, index: int, delta: bytes, details: bytes = b"", finish: str | None = None
    ) -> bytes:
        reason = b"null" if finish is None else orjson.dumps(finish)
        return b'%b"choices":[{"index":%d,"delta":%b%b,"finish_reason":%b}]%b}\n\n' % (
            self._head,
            index,
            delta,
            details or b',"logprobs":null',
            reason,
            self._usage,
        )


def _head(head: ReplyHead) -> bytes:
    fields = head_fields(head, "chat.completion.chunk")
    return b"data: " + orjson.dumps(fields)[:-1] + b","


def _delta(delta: Delta) -> bytes | None:
    match delta:
        case ContentDelta(text=text):
            return b'{"content":' + orjson.dumps(text) + b"}"
        case ReasoningDelta(text=text):
            quoted = orjson.dumps(text)
            return b'{"reasoning":' + quoted + b',"reasoning_content":' + quoted + b"}"
        case ToolCallStart(index=index, id=id_, name=name):
            function = {"name": name, "arguments": ""}
            call = {"index": index, "id": id_, "type": "function", "function": function}
            return orjson.dumps({"tool_calls": [call]})
        case ToolArgumentsDelta(index=index, text=text):
            return orjson.dumps({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
    return None


def _older_delta(delta: Delta) -> bytes | None:
    """The same for a caller of functions, who knows one call per message."""
    match delta:
        case ToolCallStart(index=0, name=name):
            return orjson.dumps({"function_call": {"name": name, "arguments": ""}})
        case ToolArgumentsDelta(index=0, text=text):
            return orjson.dumps({"function_call": {"arguments": text}})
        case ToolCallStart() | ToolArgumentsDelta():
            return None
    return _delta(delta)


def _details(logprobs: list[TokenLogprob] | None, token_ids: list[int] | None) -> bytes | None:
    if logprobs is None and token_ids is None:
        return None
    shown = orjson.dumps(logprobs_object(logprobs))
    ids = b"" if token_ids is None else b',"token_ids":' + orjson.dumps(token_ids)
    return b',"logprobs":' + shown + ids
