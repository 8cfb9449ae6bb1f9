"""The OpenAI chat dialect as server-sent events.

Nothing is sent before the engine's first token, so that an error can still be a status. Finish reasons, usage and the
terminator wait for the commit: a client that saw them holds a recorded turn.
"""

from collections.abc import Iterable

import msgspec
import orjson

from gateway.dialects.chat.parse import parse_chat, read_chat_message
from gateway.dialects.chat.reply import completion_id, render_chat, usage_object
from gateway.errors import ApiError
from gateway.parsing import ContentDelta, Delta, ReasoningDelta, ToolArgumentsDelta, ToolCallStart
from gateway.request.messages import MessageReader
from gateway.request.request import Reply, ReplyChoice, Request, TokenLogprob
from gateway.turn.event_stream import EventStream, Opening
from gateway.turn.output_builder import Piece

_DONE = b"data: [DONE]\n\n"


class ChatStream:
    """One streamed completion; its chunks fold to the unstreamed body."""

    def __init__(self, request: Request, events: EventStream) -> None:
        self._request = request
        self._events = events
        self._head = b""
        self._usage = b',"usage":null' if request.include_usage else b""

    @property
    def has_started(self) -> bool:
        return self._events.has_started

    async def start(self, opening: Opening) -> None:
        self._head = _head(opening, self._request.model)
        roles = [
            self._chunk(index, b'{"role":"assistant","content":"","refusal":null}')
            for index in range(self._request.num_outputs)
        ]
        if opening.prompt_token_ids is not None:
            ids = b',"prompt_token_ids":' + orjson.dumps(opening.prompt_token_ids)
            roles[0] = roles[0].replace(b"}\n\n", ids + b"}\n\n")
        await self._events.start(opening, b"".join(roles))

    async def piece(self, piece: Piece) -> None:
        """Send what one engine event gave; details ride on its first chunk."""
        deltas = [data for delta in piece.deltas if (data := _delta(delta)) is not None]
        details = _details(piece.logprobs, piece.token_ids)
        if not deltas and details is not None:
            deltas = [b'{"content":""}']
        if deltas:
            first, *rest = deltas
            chunks = [self._chunk(piece.index, first, details or b"")]
            chunks += [self._chunk(piece.index, data) for data in rest]
            await self._events.send(b"".join(chunks))

    async def finish(self, reply: Reply) -> None:
        """Say how each choice ended and, if asked, what it cost; then end."""
        ends = [self._chunk(c.index, b"{}", finish=c.finish_reason) for c in reply.choices]
        if self._request.include_usage:
            usage = orjson.dumps(usage_object(reply))
            ends.append(self._head + b'"choices":[],"usage":' + usage + b"}\n\n")
        await self._events.end(b"".join(ends) + _DONE)

    async def replay(self, reply: Reply) -> None:
        """Send a recorded reply."""
        await self.start(Opening.of(reply))
        for choice in reply.choices:
            await self.piece(
                Piece(choice.index, list(_recorded(choice)), choice.logprobs, choice.token_ids)
            )
        await self.finish(reply)

    async def fail(self, error: ApiError) -> None:
        """Tell of an error in mid-stream; no terminator follows."""
        await self._events.end(b"data: " + error.body + b"\n\n")

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


def _head(opening: Opening, model: str) -> bytes:
    head = {
        "id": completion_id(opening.turn_id),
        "object": "chat.completion.chunk",
        "created": opening.created,
        "model": model,
        "system_fingerprint": f"policy@{opening.policy_version}",
    }
    return b"data: " + orjson.dumps(head)[:-1] + b","


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


def _details(logprobs: list[TokenLogprob] | None, token_ids: list[int] | None) -> bytes | None:
    if logprobs is None and token_ids is None:
        return None
    shown = b"null"
    if logprobs is not None:
        shown = orjson.dumps({"content": msgspec.to_builtins(logprobs), "refusal": None})
    ids = b"" if token_ids is None else b',"token_ids":' + orjson.dumps(token_ids)
    return b',"logprobs":' + shown + ids


def _recorded(choice: ReplyChoice) -> Iterable[Delta]:
    if choice.reasoning:
        yield ReasoningDelta(choice.reasoning)
    if choice.content:
        yield ContentDelta(choice.content)
    for index, call in enumerate(choice.tool_calls):
        yield ToolCallStart(index, call.id, call.name)
        yield ToolArgumentsDelta(index, call.arguments)


class ChatDialect:
    """Chat completions, for the endpoint that speaks them."""

    def __init__(self) -> None:
        self._reader = MessageReader(read_chat_message)

    def parse(self, body: bytes) -> Request:
        return parse_chat(body, self._reader)

    def render(self, reply: Reply) -> bytes:
        return render_chat(reply)

    def stream(self, request: Request, events: EventStream) -> ChatStream:
        return ChatStream(request, events)
