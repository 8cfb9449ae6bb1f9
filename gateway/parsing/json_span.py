"""Where a JSON object ends, in text that arrives in pieces."""

from __future__ import annotations

import re

import msgspec

IN_STRING = re.compile(r'["\\]')
OUTSIDE = re.compile(r'["{}\[\]<]')


class ObjectSpan:
    """Follows braces and strings from the opening brace; a "<" outside a string is no JSON and ends the span early."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._parts: list[str] = []
        self.is_closed = False

    @property
    def is_valid(self) -> bool:
        try:
            msgspec.json.decode("".join(self._parts), type=dict[str, msgspec.Raw])
        except msgspec.DecodeError:
            return False
        return True

    def feed(self, text: str) -> int:
        """How many of these characters belong to the object."""
        position = 1 if self._escaped and text else 0
        self._escaped = self._escaped and not text
        while not self.is_closed:
            pattern = IN_STRING if self._in_string else OUTSIDE
            found = pattern.search(text, position)
            if found is None:
                position = len(text)
                break
            position = self._pass(found[0], found.end(), len(text))
        self._parts.append(text[:position])
        return position

    def _pass(self, mark: str, end: int, length: int) -> int:
        """Where to go on after this mark."""
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
