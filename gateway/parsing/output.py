"""One output's text to deltas; which parser reads it is the model's `OutputFormat`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from gateway.parsing.deltas import ContentDelta, Delta, ReasoningDelta
from gateway.parsing.hermes import HermesParser
from gateway.parsing.reasoning import ReasoningParser


class ToolCallParser(Protocol):
    """Tells tool calls from the text around them; one class per way of writing calls."""

    num_calls: int
    malformed: bool

    def feed(self, text: str, /) -> list[Delta]: ...
    def finish(self) -> list[Delta]: ...


TOOL_FORMATS: Mapping[str, Callable[[Callable[[], str]], ToolCallParser]] = {"hermes": HermesParser}
REASONING_FORMATS: Mapping[str, type[ReasoningParser]] = {"think": ReasoningParser}


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


class OutputFormat(msgspec.Struct, frozen=True):
    """How a model writes tool calls and reasoning: names in the two tables above, None where it does not."""

    tools: str | None
    reasoning: str | None

    @classmethod
    def detect(cls, template_source: str) -> OutputFormat:
        """What the chat template shows of it; tags whose contents are not the known ones are not guessed at."""
        tagged = "<tool_call>" in template_source
        other = "<arg_key>" in template_source or "<function=" in template_source
        return cls(
            tools="hermes" if tagged and not other else None,
            reasoning="think" if "</think>" in template_source else None,
        )


class OutputParser:
    """Feed it text as it is generated; the deltas fold to the same message however the text was cut.

    Without a tool format (the request offers no tools, or `tool_choice` is none) markup stays text. `prompt_tail` is the
    end of the prompt: a template may have opened the reasoning there.
    """

    def __init__(
        self,
        tool_format: str | None,
        reasoning_format: str | None,
        *,
        prompt_tail: str = "",
        new_id: Callable[[], str] = new_call_id,
    ) -> None:
        self._calls = None if tool_format is None else TOOL_FORMATS[tool_format](new_id)
        self._reasoning = None
        if reasoning_format is not None:
            parser = REASONING_FORMATS[reasoning_format]
            self._reasoning = parser(opened=prompt_tail.rstrip().endswith(parser.OPENING))

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
