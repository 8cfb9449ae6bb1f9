"""One output's text to deltas; which parsers read it is the model's `OutputReader`."""

from __future__ import annotations

from collections.abc import Callable

from gateway.parsing.call_format import CallFormat
from gateway.parsing.call_parser import CallParser, Tools
from gateway.parsing.deltas import ContentDelta, Delta, ReasoningDelta
from gateway.parsing.reasoning_format import ReasoningFormat


def markers_of(
    call_format: CallFormat | None, reasoning_format: ReasoningFormat | None
) -> frozenset[str]:
    """The markup that must be in the text for these formats, special tokens included."""
    tools = call_format.markers if call_format else ()
    reasoning = reasoning_format.markers if reasoning_format else ()
    return frozenset((*tools, *reasoning))


class OutputParser:
    """Feed it text as it is generated; the deltas fold to the same message however the text was cut.

    Without a tool format (the request offers no tools, or `tool_choice` is none) markup stays text. `prompt_tail` is the
    end of the prompt: a template may have opened the reasoning there. `tools` type arguments that are written as text.
    """

    def __init__(
        self,
        call_format: CallFormat | None,
        reasoning_format: ReasoningFormat | None,
        *,
        prompt_tail: str = "",
        tools: Tools | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self.markers = markers_of(call_format, reasoning_format)
        self._calls = CallParser(call_format, tools=tools, new_id=new_id) if call_format else None
        self._reasoning = reasoning_format.parser(prompt_tail) if reasoning_format else None

    @property
    def malformed(self) -> bool:
        """Whether a tool call was not what its format asks for."""
        return self._calls is not None and self._calls.malformed

    @property
    def num_tool_calls(self) -> int:
        return self._calls.num_calls if self._calls else 0

    def feed(self, text: str) -> list[Delta]:
        if self._reasoning is None:
            return self._speech(text)
        thought, speech = self._reasoning.feed(text)
        return [*_thoughts(thought), *self._speech(speech)]

    def finish(self) -> list[Delta]:
        thought, speech = self._reasoning.finish() if self._reasoning else ("", "")
        last = self._calls.finish if self._calls else list[Delta]
        return [*_thoughts(thought), *self._speech(speech), *last()]

    def _speech(self, text: str) -> list[Delta]:
        if not text:
            return []
        return self._calls.feed(text) if self._calls else [ContentDelta(text)]


def _thoughts(text: str) -> list[Delta]:
    return [ReasoningDelta(text)] if text else []
