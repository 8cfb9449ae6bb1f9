"""Finds the end of a JSON object in text that arrives in pieces."""

from __future__ import annotations

import re

import msgspec

IN_STRING = re.compile(r'["\\]')
OUTSIDE = re.compile(r'["{}\[\]<]')


class ObjectSpan:
    """Counts the braces of an object outside its strings; a "<" there is no JSON and ends the span early.

    `begun` is the part of the object that was read before.
    """

    def __init__(self, begun: str = "") -> None:
        self._depth = begun.count("{")
        self._in_string = False
        self._escaped = False
        self._parts = [begun]
        self.is_closed = False

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def has_begun(self) -> bool:
        return any(self._parts)

    @property
    def is_valid(self) -> bool:
        try:
            msgspec.json.decode(self.text, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            return False
        return self.is_closed

    def feed(self, text: str, *, is_last: bool = False) -> tuple[str, str]:
        """The characters that belong to the object, and those after it. XmlArguments has the same interface."""
        del is_last  # an object that is cut off is returned as it is
        end = self._end(text)
        self._parts.append(text[:end])
        return text[:end], text[end:]

    def _end(self, text: str) -> int:
        position = 1 if self._escaped and text else 0
        self._escaped = self._escaped and not text
        while not self.is_closed:
            pattern = IN_STRING if self._in_string else OUTSIDE
            found = pattern.search(text, position)
            if found is None:
                return len(text)
            position = self._pass(found[0], found.end(), len(text))
        return position

    def _pass(self, mark: str, end: int, length: int) -> int:
        """Update the state for this mark; return where to continue."""
        if mark == "\\":
            self._escaped = end == length
            return min(end + 1, length)
        if mark == '"':
            self._in_string = not self._in_string
        elif mark == "<":
            self.is_closed = True
            return end - 1
        else:
            self._depth += 1 if mark in "{[" else -1
            self.is_closed = self._depth == 0
        return end
