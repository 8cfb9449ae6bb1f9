"""Reasoning in tags at the beginning of an output; newlines next to the tags belong to the markup."""

from __future__ import annotations

from typing import Protocol

from gateway.parsing.markup import before_tag


class ReasoningParser(Protocol):
    """Splits an output into what was thought and what was said, as it arrives."""

    def feed(self, text: str, /) -> tuple[str, str]:
        """What these characters add to the thought and to the speech."""

    def finish(self) -> tuple[str, str]: ...


class TaggedReasoning:
    """A thought between two tags, which the end of the prompt may have opened already."""

    def __init__(self, opening: str, closing: str, prompt_tail: str) -> None:
        self._opening = opening
        self._closing = closing
        self._opened = prompt_tail.rstrip().endswith(opening)
        self._closed = False
        self._trims = self._opened  # newlines follow a tag until something else does
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        if self._closed:
            return "", self._trimmed(text)
        self._held += text
        if not self._opened and not self._opens():
            return "", self._spoken()
        thought, closing, speech = self._held.partition(self._closing)
        if closing:
            self._closed, self._held = True, ""
            thought = self._trimmed(thought.rstrip("\n"))
            self._trims = True
            return thought, self._trimmed(speech)
        end = before_tag(self._held, self._closing)
        thought, self._held = self._trimmed(self._held[:end]), self._held[end:]
        return thought, ""

    def finish(self) -> tuple[str, str]:
        held, self._held = self._held, ""
        if self._opened and not self._closed:
            return self._trimmed(held.rstrip("\n")), ""
        return "", held

    def _opens(self) -> bool:
        """Takes the opening tag away once it is whole."""
        self._held, held = self._held.lstrip(), self._held
        if self._held.startswith(self._opening):
            self._held = self._held[len(self._opening) :]
            self._opened = self._trims = True
            return True
        self._held = held
        return False

    def _spoken(self) -> str:
        """The output does not begin with a thought; until that is certain, nothing."""
        if self._opening.startswith(self._held.lstrip()):
            return ""
        speech, self._held, self._closed = self._held, "", True
        return speech

    def _trimmed(self, text: str) -> str:
        if self._trims:
            text = text.lstrip("\n")
            self._trims = not text
        return text
