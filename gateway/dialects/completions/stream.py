"""Text completions as server-sent events; finish reasons, usage and the terminator wait for the commit."""

from collections import Counter

import orjson
from msgspec.structs import replace

from gateway.dialects.bodies.openai_errors import error_body
from gateway.dialects.bodies.usage import usage_object
from gateway.dialects.completions.reply import choice_object, head_fields
from gateway.errors import ApiError
from gateway.parsing.deltas import ContentDelta
from gateway.request.request import Reply, ReplyHead, Request, Usage
from gateway.turn.event_stream import EventStream
from gateway.turn.output_builder import Piece

_DONE = b"data: [DONE]\n\n"


class CompletionStream:
    """One streamed completion; its chunks fold to the unstreamed body."""

    def __init__(self, request: Request, events: EventStream) -> None:
        self._request = request
        self._events = events
        self._head: dict[str, object] = {}
        self._counted = Usage(0, 0, 0)
        self._offsets: Counter[int] = Counter()  # characters of the tokens of each choice

    async def start(self, head: ReplyHead) -> None:
        self._head = head_fields(head)
        if self._request.include_usage:
            self._head["usage"] = None
        self._count(replace(head.usage, output_tokens=0))
        echo, first = str(self._request.echo), b""
        if echo or head.prompt_token_ids is not None:
            ids = head.prompt_token_ids
            shown = {} if ids is None else {"prompt_token_ids": ids}
            choices = [self._choice(index, echo) for index in range(self._request.num_outputs)]
            first = self._chunk(choices, **shown)
        await self._events.start(head, first)

    async def piece(self, piece: Piece) -> None:
        num_tokens = self._counted.output_tokens + piece.num_tokens
        self._count(replace(self._counted, output_tokens=num_tokens))
        text = "".join(delta.text for delta in piece.deltas if isinstance(delta, ContentDelta))
        if not text and piece.logprobs is None and piece.token_ids is None:
            return
        choice = choice_object(
            piece.index,
            text,
            logprobs=piece.logprobs,
            token_ids=piece.token_ids,
            finish_reason=None,
            offset=self._offsets[piece.index],
        )
        self._offsets[piece.index] += sum(len(token.token) for token in piece.logprobs or ())
        await self._events.send(self._chunk([choice]))

    async def finish(self, reply: Reply) -> None:
        """Send each choice's finish reason and, if asked for, the usage; then the terminator."""
        self._count(reply.usage)
        ends = [self._chunk([self._choice(c.index, "", c.finish_reason)]) for c in reply.choices]
        if self._request.include_usage:
            ends.append(self._chunk([], usage=usage_object(reply.usage)))
        await self._events.end(b"".join(ends) + _DONE)

    async def fail(self, error: ApiError) -> None:
        """Send the error as an event; no terminator follows."""
        await self._events.end(b"data: " + error_body(error) + b"\n\n")

    def _count(self, usage: Usage) -> None:
        """Tell the usage so far in the next chunks, if the caller wants it in every one."""
        if self._request.counts_always:
            self._counted = usage
            self._head["usage"] = usage_object(usage)

    def _choice(self, index: int, text: str, finish: str | None = None) -> dict[str, object]:
        return choice_object(index, text, logprobs=None, token_ids=None, finish_reason=finish)

    def _chunk(self, choices: list[dict[str, object]], **fields: object) -> bytes:
        return b"data: " + orjson.dumps({**self._head, "choices": choices, **fields}) + b"\n\n"
