"""Tool calls as JSON in `<tool_call>` tags, the format of Hermes, Qwen2.5 and Qwen3.

A call starts for the client once its name and the opening brace of its arguments are there, and the arguments follow
as the model writes them. So a call that goes wrong before that point becomes text, and one that goes wrong later
stays a call whose arguments are what the model wrote; `malformed` tells of both.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

from gateway.parsing.deltas import (
    ContentDelta,
    Delta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
)
from gateway.parsing.json_span import ObjectSpan
from gateway.parsing.markup import before_tag

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
TAG = re.compile(f"{OPENING}|{CLOSING}")
# No "<" can occur in it, so a tag is never mistaken for a part of a name that has only begun.
HEADER = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\<]*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
MAX_HEADER = 1000  # characters; a longer one is parsed when its closing tag arrives
REST = re.compile(r"\s*(,.*)?\}\s*", re.DOTALL)


class HermesCall(msgspec.Struct, frozen=True):
    """A call whose JSON is read at once, because its keys come in another order."""

    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"")
    parameters: msgspec.Raw = msgspec.Raw(b"")

    @property
    def arguments_text(self) -> str:
        return (bytes(self.arguments) or bytes(self.parameters) or b"{}").decode()


class HermesParser:
    """Tells tool calls from the text around them."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._read = self._read_text
        self._held = ""
        self._gap = ""
        self._span = ObjectSpan()
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
        held, self._held = self._held, ""
        if self._read == self._read_text:
            self._say(held.rstrip("\n") if self._follows_call else held)
        elif self._read == self._read_header:
            self._end_unstarted(held, "")
        elif self._read == self._read_arguments:
            self._end_call(whole=False)
        elif not REST.fullmatch(held):
            self._complain(held)
        deltas, self._deltas = self._deltas, []
        return deltas

    def _read_text(self) -> bool:
        text, opening, rest = self._held.partition(OPENING)
        if not opening:
            end = before_tag(self._held, OPENING)
            text, self._held = self._held[:end], self._held[end:]
            self._say(text)
            return False
        said = text.rstrip("\n")
        self._say(said)
        self._gap, self._held = text[len(said) :], rest
        self._read = self._read_header
        return True

    def _read_header(self) -> bool:
        if header := HEADER.match(self._held, 0, MAX_HEADER):
            self._start_call(header[1])
            self._held = self._held[header.end() :]
            self._read = self._read_arguments
            return True
        tag = TAG.search(self._held)
        if tag is None:
            return False
        body, self._held = self._held[: tag.start()], self._held[tag.start() :]
        self._end_unstarted(body, self._take_closing())
        return True

    def _read_arguments(self) -> bool:
        end = self._span.feed(self._held)
        text, self._held = self._held[:end], self._held[end:]
        if text:
            self._deltas.append(ToolArgumentsDelta(self.num_calls - 1, text))
        if not self._span.is_closed:
            return False
        self._end_call(whole=self._span.is_valid)
        self._read = self._read_rest
        return True

    def _read_rest(self) -> bool:
        tag = TAG.search(self._held)
        if tag is None:
            return False
        rest, self._held = self._held[: tag.start()], self._held[tag.start() :]
        self._take_closing()
        if not REST.fullmatch(rest):
            self._complain(rest)
        self._read = self._read_text
        return True

    def _take_closing(self) -> str:
        if not self._held.startswith(CLOSING):
            return ""
        self._held = self._held[len(CLOSING) :]
        return CLOSING

    def _start_call(self, name: str) -> None:
        self._deltas.append(ToolCallStart(self.num_calls, self._new_id(), name))
        self.num_calls += 1
        self._span = ObjectSpan()

    def _end_call(self, *, whole: bool) -> None:
        self._deltas.append(ToolCallEnd(self.num_calls - 1))
        self._follows_call = True
        self.malformed |= not whole

    def _end_unstarted(self, body: str, closing: str) -> None:
        self._read = self._read_text
        try:
            call = msgspec.json.decode(body, type=HermesCall)
            arguments = call.arguments_text
        except (msgspec.DecodeError, UnicodeError):
            arguments = ""
        if not arguments.startswith("{"):
            self._complain(f"{self._gap}{OPENING}{body}{closing}")
            return
        self._start_call(call.name)
        self._deltas.append(ToolArgumentsDelta(self.num_calls - 1, arguments))
        self._end_call(whole=True)

    def _complain(self, text: str) -> None:
        self.malformed = True
        self._say(text if text.strip() else "")

    def _say(self, text: str) -> None:
        if self._follows_call and not self._has_content:
            text = text.lstrip("\n")
        if text:
            self._has_content, self._follows_call = True, False
            self._deltas.append(ContentDelta(text))
