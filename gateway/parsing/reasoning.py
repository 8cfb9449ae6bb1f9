"""Splits reasoning in tags from the content after it; newlines next to the tags belong to the markup."""

from __future__ import annotations

from typing import Protocol

from gateway.parsing.markup import before_tag


class ReasoningParser(Protocol):
    """Splits an output into reasoning and content while it arrives."""

    def feed(self, text: str, /) -> tuple[str, str]:
        """The reasoning and the content that these characters add."""

    def finish(self) -> tuple[str, str]: ...


class TaggedReasoning:
    """Reasoning between two tags; the end of the prompt may have opened it."""

    def __init__(self, opening: str, closing: str, prompt_tail: str) -> None:
        self._opening = opening
        self._closing = closing
        self._opened = prompt_tail.rstrip().endswith(opening)
        self._closed = False
        self._trims = self._opened  # newlines after a tag are dropped until other text comes
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        if self._closed:
            return "", self._trimmed(text)
        self._held += text
        if not self._opened and not self._opens():
            return "", self._content()
        reasoning, closing, content = self._held.partition(self._closing)
        if closing:
            self._closed, self._held = True, ""
            reasoning = self._trimmed(reasoning.rstrip("\n"))
            self._trims = True
            return reasoning, self._trimmed(content)
        end = before_tag(self._held, self._closing)
        reasoning, self._held = self._trimmed(self._held[:end]), self._held[end:]
        return reasoning, ""

    def finish(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        if self._opened and not self._closed:
            return self._trimmed(held.rstrip("\n")), ""
        return "", held

    def _opens(self) -> bool:
        """Remove the opening tag once it is complete."""
        self._held, held = self._held.lstrip(), self._held
        if self._held.startswith(self._opening):
            self._held = self._held[len(self._opening) :]
            self._opened = self._trims = True
            return True
        self._held = held
        return False

    def _content(self) -> str:
        """The text of an output that does not begin with reasoning; empty until that is certain."""
        if self._opening.startswith(self._held.lstrip()):
            return ""
        content, self._held, self._closed = self._held, "", True
        return content

    def _trimmed(self, text: str) -> str:
        if self._trims:
            text = text.lstrip("\n")
            self._trims = not text
        return text
