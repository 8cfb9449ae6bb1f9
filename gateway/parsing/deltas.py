"""The pieces of a streamed output: content, reasoning, and tool calls whose arguments arrive as they are written."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class ContentDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class ToolCallStart(msgspec.Struct, frozen=True, gc=False):
    index: int
    id: str
    name: str


class ToolArgumentsDelta(msgspec.Struct, frozen=True, gc=False):
    index: int
    text: str


class ToolCallEnd(msgspec.Struct, frozen=True, gc=False):
    index: int


Delta = ContentDelta | ReasoningDelta | ToolCallStart | ToolArgumentsDelta | ToolCallEnd


class ParsedToolCall(msgspec.Struct, frozen=True):
    """A call; `arguments` is JSON text, unchanged if the model wrote JSON."""

    id: str
    name: str
    arguments: str
    position: int = 0  # how many characters of content come before it


class Message(msgspec.Struct, frozen=True):
    content: str
    reasoning: str
    tool_calls: list[ParsedToolCall]


def fold(deltas: Iterable[Delta]) -> Message:
    """The message that a client assembles from a stream."""
    content: list[str] = []
    reasoning: list[str] = []
    starts: list[tuple[ToolCallStart, int]] = []
    num_characters = 0
    arguments: list[list[str]] = []
    for delta in deltas:
        match delta:
            case ContentDelta(text=text):
                content.append(text)
                num_characters += len(text)
            case ReasoningDelta(text=text):
                reasoning.append(text)
            case ToolCallStart():
                starts.append((delta, num_characters))
                arguments.append([])
            case ToolArgumentsDelta(index=index, text=text):
                arguments[index].append(text)
            case ToolCallEnd():
                pass
    calls = [
        ParsedToolCall(start.id, start.name, "".join(parts), position)
        for (start, position), parts in zip(starts, arguments, strict=True)
    ]
    return Message("".join(content), "".join(reasoning), calls)
