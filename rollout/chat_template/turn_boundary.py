"""Cuts a rendered conversation at a stored output: the output itself, its end of turn, and the text after it.

An output begins where the prompt that it answers ends. It ends with the first token that can end it or, in a template
without such tokens, where the text that introduces the next message begins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rollout.chat_template.adapter import Adapted, Normalized
from rollout.chat_template.openai_messages import Tool, reasoning_of
from rollout.chat_template.prompt_renderer import PromptRenderer
from rollout.chat_template.rendering import TemplateError


class TurnBoundary(msgspec.Struct, frozen=True):
    """Three consecutive pieces of a prompt.

    `output` is the stored output as the template renders its message now, `end_of_turn` closes it ("" if the next
    message's opener does), `suffix` is the rest, the generation prompt included.
    """

    output: str
    end_of_turn: str
    suffix: str
    is_exact: bool = (
        True  # False: the template cannot show this output, and `output` has other words
    )
    notes: tuple[str, ...] = ()  # what was brought to another form in the part that was rendered

    @property
    def pieces(self) -> tuple[str, str, str]:
        return self.output, self.end_of_turn, self.suffix


class BoundaryCutter:
    """Cuts conversations of one template, whose assistant messages end with one of `ends` or before an opener."""

    def __init__(
        self, renderer: PromptRenderer, *, ends: Collection[str], openers: Collection[str]
    ) -> None:
        self._renderer = renderer
        self._ends = ends
        self._marks = list(ends or openers)

    def cut(
        self,
        adapted: Adapted,
        tools: Sequence[Tool] | None,
        extra: Mapping[str, Any] | None = None,
    ) -> TurnBoundary | None:
        """The boundary after the stored output; None if its message is not rendered as it was sampled."""
        text = self._renderer.prompt(adapted.messages, tools, extra)
        output = self._find(text, adapted.messages[: adapted.start], tools, extra)
        if output is None:
            return None
        begin, end = output
        end_of_turn = next((mark for mark in self._ends if text.startswith(mark, end)), "")
        suffix = text[end + len(end_of_turn) :]
        return TurnBoundary(text[begin:end], end_of_turn, suffix, adapted.is_exact, adapted.notes)

    def outputs(
        self, text: str, messages: Normalized, tools: Sequence[Tool] | None
    ) -> Iterator[tuple[int, int]]:
        """Begin and end of each output in the rendered conversation, with the token that ended it if there is one."""
        closed = text if self._ends else text + "".join(self._marks[:1])
        for index, message in enumerate(messages):
            if message["role"] != "assistant" or self._spells_end(message):
                continue
            if output := self._find(closed, messages[: index + 1], tools):
                begin, end = output
                mark = next(mark for mark in self._marks if closed.startswith(mark, end))
                yield begin, min(end + len(mark), len(text))

    def _find(
        self,
        text: str,
        messages: Normalized,
        tools: Sequence[Tool] | None,
        extra: Mapping[str, Any] | None = None,
    ) -> tuple[int, int] | None:
        *before, message = messages
        try:
            prompt = self._renderer.prompt(before, tools, extra)
        except TemplateError:
            return None
        begin = len(prompt)
        search = self._search_from(text, begin, message) if text.startswith(prompt) else None
        if search is None:
            return None
        ends = [text.find(mark, search) for mark in self._marks]
        end = min((found for found in ends if found >= 0), default=-1)
        if end < 0 or reasoning_of(message) not in text[begin:end]:
            return None
        return begin, end

    def _search_from(self, text: str, begin: int, message: Mapping[str, Any]) -> int | None:
        """Where to start the search for an end: after a content that spells an end itself; None if that is ambiguous."""
        if not self._spells_end(message):
            return begin
        content = message["content"]
        if not isinstance(content, str) or self._spells_end({**message, "content": ""}):
            return None
        found = text.find(content.strip(), begin)
        return found + len(content.strip()) if found >= 0 else None

    def _spells_end(self, message: Mapping[str, Any]) -> bool:
        spelled = repr(message)
        return any(mark in spelled for mark in self._marks)
