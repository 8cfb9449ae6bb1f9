"""Separates tool calls from the text around them, in any call format.

The client gets a call once its name and the beginning of its arguments are complete; the arguments follow as the model
writes them. A call that breaks its format before that point becomes text. One that breaks it later stays a call, with
the arguments that the model wrote. `malformed` is set in both cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import regex

from gateway.parsing.call_format import CallFormat
from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from gateway.parsing.json_span import ObjectSpan
from gateway.parsing.json_types import properties_of
from gateway.parsing.markup import matched
from gateway.parsing.xml_arguments import XmlArguments

Tools = Sequence[Mapping[str, object]]


class CallObject(msgspec.Struct, frozen=True):
    """A call whose members come in another order, so its JSON is read as a whole."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"")
    parameters: msgspec.Raw = msgspec.Raw(b"")

    @property
    def arguments_text(self) -> str:
        return (bytes(self.arguments) or bytes(self.parameters) or b"{}").decode()


class CallParser:
    """`tools` give the types of arguments that a format writes as text; None if they are not known.

    By default calls have empty ids.
    """

    def __init__(
        self,
        call_format: CallFormat,
        *,
        tools: Tools | None,
        new_id: Callable[[], str] = str,
    ) -> None:
        self._format = call_format
        self._tools = tools
        self._new_id = new_id
        self._read = self._read_header if call_format.may_be_bare else self._read_text
        self._is_last = False
        self._held = ""
        self._beginning = ""  # the text that was read as the beginning of a call
        self._span = ObjectSpan()
        self._arguments: ObjectSpan | XmlArguments = self._span
        self._has_content = False
        self._follows_call = False
        self._deltas: list[Delta] = []
        self.num_calls = 0
        self.malformed = False

    def feed(self, text: str) -> list[Delta]:
        self._held += text
        while self._read():
            pass
        deltas, self._deltas = self._deltas, []
        return deltas

    def finish(self) -> list[Delta]:
        self._is_last = True
        return self.feed("")

    def _read_text(self) -> bool:
        found = self._format.opening.search(self._held, partial=not self._is_last)
        end = found.start() if found else len(self._held)
        text, self._held = self._held[:end], self._held[end:]
        is_rest = self._is_last and not found
        self._add_content(text.rstrip("\n") if is_rest and self._follows_call else text)
        if found is None or found.partial:
            return False
        self._take_beginning(found)
        self._read = self._read_header
        return True

    def _read_header(self) -> bool:
        found, waits = matched(self._format.header, self._held, is_last=self._is_last)
        if waits:
            return False
        if found is not None:
            self._held = self._held[found.end() :]
            self._start_call(found["name"], found.groupdict().get("id"))
            self._read = self._read_arguments
        elif self._beginning and self._format.is_object and self._held.lstrip().startswith("{"):
            self._span = ObjectSpan()
            self._read = self._read_object
        else:
            self._reject()
        return True

    def _read_object(self) -> bool:
        """A header that begins with other members: read the whole object."""
        blank = len(self._held) - len(self._held.lstrip())
        if not self._span.has_begun:
            self._beginning, self._held = self._beginning + self._held[:blank], self._held[blank:]
        _, self._held = self._span.feed(self._held)
        if not self._span.is_closed and not self._is_last:
            return False
        try:
            call = msgspec.json.decode(self._span.text, type=CallObject)
            arguments = call.arguments_text
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            arguments = ""
        if arguments.startswith("{"):
            self._start_call(call.name)
            self._deltas.append(ToolArgumentsDelta(self.num_calls - 1, arguments))
            self._end_call(is_whole=True)
            self._read = self._read_closing
        else:
            self._held = self._span.text + self._held
            self._reject()
        return True

    def _read_arguments(self) -> bool:
        json, self._held = self._arguments.feed(self._held, is_last=self._is_last)
        if json:
            self._deltas.append(ToolArgumentsDelta(self.num_calls - 1, json))
        if not self._arguments.is_closed and not self._is_last:
            return False
        self._end_call(is_whole=self._arguments.is_valid)
        self._span = ObjectSpan('{"name":""')
        is_cut = not self._arguments.is_closed
        self._read = (
            self._read_members if self._format.is_object and not is_cut else self._read_closing
        )
        return True

    def _read_members(self) -> bool:
        """The rest of the object after its arguments."""
        _, self._held = self._span.feed(self._held)
        if not self._span.is_closed and not self._is_last:
            return False
        if not self._span.is_valid:
            self._add_malformed(self._span.text.removeprefix('{"name":""'))
        self._read = self._read_closing
        return True

    def _read_closing(self) -> bool:
        if self._format.closing is not None:
            found, waits = matched(self._format.closing, self._held, is_last=self._is_last)
            if waits:
                return False
            self._held = self._held[found.end() :] if found else self._held
            self.malformed |= found is None and bool(self._held.strip())
        self._read = self._read_between
        return True

    def _read_between(self) -> bool:
        self._read = self._read_text
        if self._format.between is None:
            return True
        found, waits = matched(self._format.between, self._held, is_last=self._is_last)
        if waits:
            self._read = self._read_between
            return False
        if found is not None:
            self._take_beginning(found)
            self._read = self._read_header if found.lastgroup == "next" else self._read_text
        return True

    def _take_beginning(self, found: regex.Match[str]) -> None:
        self._beginning, self._held = found[0], self._held[len(found[0]) :]

    def _start_call(self, name: str, id_: str | None = None) -> None:
        self._deltas.append(ToolCallStart(self.num_calls, id_ or self._new_id(), name))
        self.num_calls += 1
        self._arguments = self._arguments_of(name)

    def _arguments_of(self, name: str) -> ObjectSpan | XmlArguments:
        tags = self._format.parameters
        if tags is None:
            return ObjectSpan()
        return XmlArguments(tags, None if self._tools is None else properties_of(self._tools, name))

    def _end_call(self, *, is_whole: bool) -> None:
        self._deltas.append(ToolCallEnd(self.num_calls - 1))
        self._follows_call = True
        self.malformed |= not is_whole

    def _reject(self) -> None:
        """The text that was read as a call is no call."""
        if self._beginning:
            self._add_malformed(self._beginning)
        self._read = self._read_text

    def _add_malformed(self, text: str) -> None:
        self.malformed = True
        self._add_content(text if text.strip() else "")

    def _add_content(self, text: str) -> None:
        if self._follows_call and not self._has_content:
            text = text.lstrip("\n")
        if text:
            self._has_content, self._follows_call = True, False
            self._deltas.append(ContentDelta(text))
