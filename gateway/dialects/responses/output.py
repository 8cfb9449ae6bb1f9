"""A reply's output as items: streamed and unstreamed replies are both made here, so they cannot differ."""

from collections.abc import Iterator

from gateway.dialects.responses.asked import Asked
from gateway.dialects.responses.namespaces import CalledTool
from gateway.dialects.responses.output_items import (
    COMPLETED,
    INCOMPLETE,
    CustomCall,
    Event,
    FunctionCall,
    Message,
    OutputItem,
    Reasoning,
    Summary,
)
from gateway.dialects.responses.text_logprobs import TextLogprobs
from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    ReasoningDelta,
    ToolArgumentsDelta,
    ToolCallStart,
)
from gateway.request.minted_ids import minted_id
from gateway.turn.output_builder import Piece


class Output:
    """The items so far. They come one after the other: what belongs to no open item closes it and opens the next."""

    def __init__(self, turn_id: str, asked: Asked) -> None:
        self.items: list[dict[str, object]] = []  # those that are closed
        self._turn_id = turn_id
        self._asked = asked
        self._open: OutputItem | None = None
        self._logprobs = TextLogprobs()
        self._has_answer = False

    def add(self, piece: Piece) -> Iterator[Event]:
        """The events of one piece."""
        if self._asked.shows_logprobs:
            self._logprobs.add(piece.logprobs or ())
        for delta in piece.deltas:
            yield from self._add(delta)

    def end(self, *, is_cut: bool) -> Iterator[Event]:
        """Close the last item; a reply without a message or call gets an empty message."""
        status = INCOMPLETE if is_cut else COMPLETED
        if not self._has_answer:
            yield from self._next(Message(self._next_place, self._id("msg")), status)
        yield from self._close(status)

    def standing(self) -> list[dict[str, object]]:
        """The items of a reply that fails, the last one as far as it came."""
        return [*self.items, *([self._open.item(INCOMPLETE)] if self._open else ())]

    def _add(self, delta: Delta) -> Iterator[Event]:
        # The end of a call says nothing: whether it was cut is known at the end of the output.
        match delta:
            case ReasoningDelta(text=text):
                if not isinstance(self._open, Reasoning):
                    yield from self._next(self._reasoning())
                yield from self._grow(text)
            case ContentDelta(text=text):
                if not isinstance(self._open, Message):
                    yield from self._next(Message(self._next_place, self._id("msg")))
                yield from self._grow(text)
            case ToolCallStart():
                yield from self._next(self._call(delta))
            case ToolArgumentsDelta(text=text):
                yield from self._grow(text)

    def _grow(self, text: str) -> Iterator[Event]:
        assert self._open is not None
        logprobs = self._logprobs.of(text) if self._asked.shows_logprobs else []
        yield from self._open.grown(text, logprobs)

    def _next(self, item: OutputItem, status: str = COMPLETED) -> Iterator[Event]:
        yield from self._close(status)
        self._open = item
        self._has_answer |= not isinstance(item, Reasoning)
        yield from item.opened()

    def _close(self, status: str) -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.closed(status)
            self.items.append(self._open.item(status))
            self._open = None

    def _reasoning(self) -> Reasoning:
        id_ = self._id("rs")
        kind = Summary if self._asked.summarizes else Reasoning
        encrypted = id_.replace("rs_", "enc_", 1) if self._asked.names_reasoning else None
        return kind(self._next_place, id_, encrypted)

    def _call(self, start: ToolCallStart) -> FunctionCall:
        called = self._asked.tools.get(start.name) or CalledTool(start.name)
        id_ = minted_id("ctc" if called.is_custom else "fc", self._turn_id, 0, start.index)
        kind = CustomCall if called.is_custom else FunctionCall
        return kind(self._next_place, id_, call_id=start.id, called=called)

    @property
    def _next_place(self) -> int:
        return len(self.items) + (self._open is not None)

    def _id(self, kind: str) -> str:
        return minted_id(kind, self._turn_id, self._next_place)
