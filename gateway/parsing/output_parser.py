"""Turns the text of one output into deltas."""

from __future__ import annotations

from collections.abc import Callable

from gateway.parsing.call_format import CallFormat
from gateway.parsing.call_parser import CallParser, Tools
from gateway.parsing.deltas import ContentDelta, Delta, ReasoningDelta
from gateway.parsing.reasoning_format import ReasoningFormat


def markers_of(
    call_format: CallFormat | None, reasoning_format: ReasoningFormat | None
) -> frozenset[str]:
    """The tags that the text must hold for these formats, even if they are special tokens."""
    tools = call_format.markers if call_format else ()
    reasoning = reasoning_format.markers if reasoning_format else ()
    return frozenset((*tools, *reasoning))


class OutputParser:
    """Feed it text as it is generated; however the text is cut, the deltas fold to the same message.

    Without a call format (no tools are offered, or `tool_choice` is none) call markup stays text. `prompt_tail` is the
    end of the prompt, where a template may have opened the reasoning. `tools` give the types of arguments in text.
    """

    def __init__(
        self,
        call_format: CallFormat | None,
        reasoning_format: ReasoningFormat | None,
        *,
        prompt_tail: str = "",
        tools: Tools | None = None,
        new_id: Callable[[], str] = str,
    ) -> None:
        self.markers = markers_of(call_format, reasoning_format)
        self._calls = CallParser(call_format, tools=tools, new_id=new_id) if call_format else None
        self._reasoning = reasoning_format.parser(prompt_tail) if reasoning_format else None

    @property
    def malformed(self) -> bool:
        """Whether a tool call broke its format."""
        return self._calls is not None and self._calls.malformed

    @property
    def num_tool_calls(self) -> int:
        return self._calls.num_calls if self._calls else 0

    def feed(self, text: str) -> list[Delta]:
        if self._reasoning is None:
            return self._content(text)
        reasoning, content = self._reasoning.feed(text)
        return [*_reasoning(reasoning), *self._content(content)]

    def finish(self) -> list[Delta]:
        reasoning, content = self._reasoning.finish() if self._reasoning else ("", "")
        last = self._calls.finish if self._calls else list[Delta]
        return [*_reasoning(reasoning), *self._content(content), *last()]

    def _content(self, text: str) -> list[Delta]:
        if not text:
            return []
        return self._calls.feed(text) if self._calls else [ContentDelta(text)]


def _reasoning(text: str) -> list[Delta]:
    return [ReasoningDelta(text)] if text else []
