r"""A call's arguments as the JSON object that a `tool_use` block holds, while the model writes them.

An object goes out as it is written. Where it breaks JSON, or is cut, the object is closed and a member with the text as
generated follows. Arguments that are no object are that member alone. `arguments_of` reads both back without loss.

{"a": 1}    ->  {"a": 1}
{"a": nope  ->  {"a": null,"_raw_arguments":"{\"a\": nope"}
[1, 2]      ->  {"_raw_arguments":"[1, 2]"}
"""

import re
from collections.abc import Mapping
from enum import Enum, auto

import orjson

RAW = "_raw_arguments"
MAX_DEPTH = 100

_SPACE = re.compile(r"[ \t\n\r]*")
# No possessive quantifiers, which take a part of an alternative in Python before 3.11.5.
_CHARACTERS = re.compile(
    r'(?:[^"\\\x00-\x1f]+|\\["\\/bfnrt]|\\u(?:[0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))*"
)
_LONGEST_ESCAPE = 12
_SCALAR = re.compile(r"[-+.0-9a-zA-Z]+")
_WHOLE_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")


class _Next(Enum):
    """What may come next."""

    OBJECT = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    VALUE = auto()
    VALUE_OR_END = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


_KEYS = (_Next.KEY, _Next.KEY_OR_END)
_VALUES = (_Next.VALUE, _Next.VALUE_OR_END)


def input_of(arguments: str) -> bytes:
    """The JSON object for a call's whole arguments."""
    writer = ToolInput()
    return (writer.feed(arguments) + writer.finish()).encode() or b"{}"


def arguments_of(tool_input: object) -> object:
    """The arguments of a returned call: what the model wrote, if the object holds it."""
    if isinstance(tool_input, Mapping) and isinstance(tool_input.get(RAW), str):
        return tool_input[RAW]
    return tool_input


class ToolInput:
    """Feed it arguments; what it gives joins to one JSON object, or to nothing if there were no arguments."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._held = ""
        self._open: list[str] = []
        self._next = _Next.OBJECT
        self._string_ends_in: _Next | None = None  # in a string: what may come after it
        self._has_members = False
        self._is_raw = False

    def feed(self, text: str) -> str:
        self._written.append(text)
        if self._is_raw:
            return _escaped(text)
        was_whole = self._next is _Next.NOTHING
        self._held += text
        position, is_valid = self._read()
        sent, self._held = self._held[:position], self._held[position:]
        if (
            self._next is _Next.NOTHING
        ):  # the last brace waits: what follows it may break the object
            sent = "" if was_whole else sent.rstrip()[:-1]
        return sent if is_valid else sent + self._spoil()

    def finish(self) -> str:
        if self._is_raw:
            return '"}'
        if self._next is _Next.NOTHING:
            return "}"
        return self._spoil() + '"}' if "".join(self._written).strip() else ""

    def _read(self) -> tuple[int, bool]:
        """How far the held text is understood, and whether it can still become an object."""
        position = 0
        while position < len(self._held):
            if self._string_ends_in is None:
                position = _after_space(self._held, position)
                end = self._token(position) if position < len(self._held) else position
            else:
                end = self._characters(position)
            if end is None:
                return position, False
            if end == position:
                break
            position = end
        return position, True

    def _characters(self, start: int) -> int | None:
        """The end of the part of a string that is here, or None if it is not valid."""
        found = _CHARACTERS.match(self._held, start)
        assert found is not None
        end = found.end()
        if self._held[end : end + 1] == '"':
            assert self._string_ends_in is not None
            self._next, self._string_ends_in = self._string_ends_in, None
            return end + 1
        rest = len(self._held) - end
        may_go_on = not rest or (self._held[end] == "\\" and rest < _LONGEST_ESCAPE)
        return end if may_go_on or end > start else None

    def _token(self, at: int) -> int | None:
        """The end of the next token outside of strings, `at` if it is not whole, or None if it is not valid."""
        match self._held[at]:
            case '"' if self._next in (*_KEYS, *_VALUES):
                self._string_ends_in = _Next.COLON if self._next in _KEYS else _Next.COMMA_OR_END
                self._has_members = True
            case "{" | "[" as mark if self._may_open(mark):
                self._open.append(mark)
                self._next = _Next.KEY_OR_END if mark == "{" else _Next.VALUE_OR_END
            case "}" | "]" as mark if self._may_close(mark):
                self._open.pop()
                self._next = _Next.COMMA_OR_END if self._open else _Next.NOTHING
            case "," if self._next is _Next.COMMA_OR_END:
                self._next = _Next.KEY if self._open[-1] == "{" else _Next.VALUE
            case ":" if self._next is _Next.COLON:
                self._next = _Next.VALUE
            case _:
                return self._scalar(at) if self._next in _VALUES else None
        return at + 1

    def _scalar(self, at: int) -> int | None:
        found = _SCALAR.match(self._held, at)
        if found is None:
            return None
        if found.end() == len(self._held):
            return at
        if not _WHOLE_SCALAR.fullmatch(found[0]):
            return None
        self._next = _Next.COMMA_OR_END
        return found.end()

    def _may_open(self, mark: str) -> bool:
        if self._next is _Next.OBJECT:
            return mark == "{"
        return self._next in _VALUES and len(self._open) < MAX_DEPTH

    def _may_close(self, mark: str) -> bool:
        if self._next is _Next.COMMA_OR_END:
            return self._open[-1] == ("{" if mark == "}" else "[")
        return self._next is (_Next.KEY_OR_END if mark == "}" else _Next.VALUE_OR_END)

    def _spoil(self) -> str:
        """Close what is open, and begin the member that holds everything as it was written."""
        self._is_raw = True
        return self._closing() + f'"{RAW}":"' + _escaped("".join(self._written))

    def _closing(self) -> str:
        """What brings the sent text to where a member of the outermost object may follow."""
        if self._next is _Next.OBJECT:
            return "{"
        if self._next is _Next.NOTHING:
            return "," if self._has_members else ""
        text = ""
        if self._string_ends_in is not None:
            text, self._next = '"', self._string_ends_in
        if self._next in (_Next.COLON, _Next.VALUE):
            text += ":null" if self._next is _Next.COLON else "null"
            self._next = _Next.COMMA_OR_END
        if self._next is _Next.KEY and len(self._open) > 1:
            text, self._next = text + '"":null', _Next.COMMA_OR_END
        text += "".join("}" if mark == "{" else "]" for mark in reversed(self._open[1:]))
        is_empty = len(self._open) == 1 and self._next in _KEYS
        return text if is_empty else text + ","


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def _escaped(text: str) -> str:
    return orjson.dumps(text).decode()[1:-1]
