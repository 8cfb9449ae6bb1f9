r"""Turns arguments that are written as one tag per parameter into a JSON object while they arrive.

    <parameter=city>\nParis\n</parameter>  ->  {"city": "Paris"}

A string streams. A value of another type is sent when it is complete, because only then it is known to be JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import regex

from gateway.parsing.json_types import ANY, STRING, Types, as_json, quoted, types_of
from gateway.parsing.markup import matched


class ParameterTags(msgspec.Struct, frozen=True):
    """`key` matches up to a value, with the parameter's name as group key, or the end of all, without that group."""

    key: regex.Pattern[str]
    value_end: regex.Pattern[str]
    unknown: Types  # the type of a parameter that the tool's schema does not have


class XmlArguments:
    """`properties` are the parameters' schemas; if they are None, a value that is JSON is read as JSON."""

    def __init__(self, tags: ParameterTags, properties: Mapping[str, object] | None) -> None:
        self._tags = tags
        self._properties = properties
        self._read = self._read_key
        self._held = ""
        self._json = ["{"]
        self._separator = ""
        self._types = ANY
        self._value: list[str] = []
        self.is_closed = False
        self.is_valid = False

    def feed(self, text: str, *, is_last: bool) -> tuple[str, str]:
        self._held = text
        while not self.is_closed and self._read(is_last=is_last):
            pass
        json, self._json = "".join(self._json), []
        return json, self._held

    def _read_key(self, *, is_last: bool) -> bool:
        found, waits = matched(self._tags.key, self._held, is_last=is_last)
        if waits:
            return False
        if found is None or found["key"] is None:
            self.is_closed, self.is_valid = True, found is not None
            self._json += "}" if self.is_valid else ""
            return False
        self._types = self._types_of(found["key"])
        self._json += self._separator, quoted(found["key"]), ": "
        self._json += '"' if self._types == STRING else ""
        self._separator = ", "
        self._held = self._held[found.end() :]
        self._read = self._read_value
        return True

    def _read_value(self, *, is_last: bool) -> bool:
        found = self._tags.value_end.search(self._held, partial=not is_last)
        end = found.start() if found else len(self._held)
        text, self._held = self._held[:end], self._held[end:]
        if self._types == STRING:
            self._json.append(quoted(text)[1:-1])
        else:
            self._value.append(text)
        if found is None or found.partial:
            self._json += self._value if is_last else ()
            self.is_closed = is_last
            return False
        self._held = self._held[found.end() - end :]
        self._json.append(
            '"' if self._types == STRING else as_json("".join(self._value), self._types)
        )
        self._value = []
        self._read = self._read_key
        return True

    def _types_of(self, key: str) -> Types:
        if self._properties is None:
            return ANY
        return types_of(self._properties.get(key)) or self._tags.unknown
