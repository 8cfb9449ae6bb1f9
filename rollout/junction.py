"""Where a prompt continues an output whose ids are stored, found at the cost of what is new.

Only the text after the output is needed, so a short window of the conversation is rendered instead of all of it, but
only where this template gave the same text both ways for every sample conversation when it was loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec
import orjson

from rollout.conversation import Message, Tool, reasoning_of
from rollout.prompt import Normalized, PromptRenderer
from rollout.rendering import TemplateError
from rollout.sample_chats import CONVERSATIONS, ONE_TOOL

HEAD_ROLES = ("system", "developer")


class Junction(msgspec.Struct, frozen=True):
    """Three consecutive pieces of a prompt.

    `output` is the stored output as the template renders its message now, `end_of_turn` closes it ("" where the next
    message's opener does), `suffix` is the rest, up to and including the generation prompt.
    """

    output: str
    end_of_turn: str
    suffix: str


class Window(Enum):
    """How much history decides the rendering of what follows an output; a leading system message always does."""

    LAST_OUTPUT = "the last user message and the output"
    SINCE_USER = "everything from the last user message on"
    WHOLE = "everything"


class JunctionFinder:
    """Knows one template's junctions."""

    def __init__(
        self, renderer: PromptRenderer, *, end_of_turn: str, openers: Sequence[str]
    ) -> None:
        self._renderer = renderer
        self._end_of_turn = end_of_turn
        self._marks = [end_of_turn] if end_of_turn else list(openers)
        self._window_for_tools = self._narrowest_safe(with_user=False)
        self._window_for_user = self._narrowest_safe(with_user=True)

    def find(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        start: int,
        extra: Mapping[str, Any] | None,
    ) -> Junction | None:
        """The junction after the output that is `messages[start - 1]`; None where the template rewrites history."""
        roles = {message.get("role") for message in messages[start:]}
        window = self._window_for_user if "user" in roles else self._window_for_tools
        if window is Window.WHOLE or not roles <= {"user", "tool", "assistant"}:
            return self._whole(messages, tools, start, extra)
        return self._windowed(window, messages, tools, start, extra)

    def outputs(
        self, text: str, messages: Normalized, tools: Sequence[Tool] | None
    ) -> Iterator[tuple[int, int]]:
        """Begin and end of each output in the rendered conversation, with the token that ended it."""
        for index, message in enumerate(messages):
            if message["role"] == "assistant":
                output = self._output(text, messages[: index + 1], tools)
                if output is not None:
                    begin, end = output
                    mark = next(mark for mark in self._marks if text.startswith(mark, end))
                    yield begin, end + len(mark)

    def _whole(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        start: int,
        extra: Mapping[str, Any] | None = None,
    ) -> Junction | None:
        return self._junction(self._renderer.normalized(messages), tools, start, extra)

    def _windowed(
        self,
        window: Window,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        start: int,
        extra: Mapping[str, Any] | None = None,
    ) -> Junction | None:
        shown = _shown(window, messages, start)
        if shown is None:
            return self._whole(messages, tools, start, extra)
        normal = self._renderer.normalized(shown)
        try:
            # What tools there are is said in the head, which the window leaves out of the answer.
            return self._junction(
                normal, ONE_TOOL if tools else None, len(shown) - len(messages) + start, extra
            )
        except TemplateError:  # the window breaks a rule that the conversation may keep
            return self._whole(messages, tools, start, extra)

    def _junction(
        self,
        messages: Normalized,
        tools: Sequence[Tool] | None,
        start: int,
        extra: Mapping[str, Any] | None,
    ) -> Junction | None:
        text = self._renderer.prompt(messages, tools, extra)
        output = self._output(text, messages[:start], tools, extra)
        if output is None:
            return None
        begin, end = output
        after = end + len(self._end_of_turn)
        return Junction(text[begin:end], self._end_of_turn, text[after:])

    def _output(
        self,
        text: str,
        messages: Normalized,
        tools: Sequence[Tool] | None,
        extra: Mapping[str, Any] | None = None,
    ) -> tuple[int, int] | None:
        """Where the last of these messages lies in a text that begins with them, if rendered as it was sampled."""
        *before, message = messages
        try:
            prompt = self._renderer.prompt(before, tools, extra)
        except TemplateError:
            return None
        spoken = orjson.dumps(message).decode()
        if not text.startswith(prompt) or any(mark in spoken for mark in self._marks):
            return None
        begin = len(prompt)
        ends = [text.find(mark, begin) for mark in self._marks]
        end = min((found for found in ends if found >= 0), default=-1)
        if end < 0 or reasoning_of(message) not in text[begin:end]:
            return None
        return begin, end

    def _narrowest_safe(self, *, with_user: bool) -> Window:
        for window in (Window.LAST_OUTPUT, Window.SINCE_USER):
            if all(
                self._windowed(window, messages, tools, start)
                == self._whole(messages, tools, start)
                for messages, tools, start in self._sample_junctions(with_user=with_user)
            ):
                return window
        return Window.WHOLE

    def _sample_junctions(
        self, *, with_user: bool
    ) -> Iterator[tuple[Sequence[Message], Sequence[Tool] | None, int]]:
        """Every place in the sample conversations where something follows an output, if the template takes it."""
        for messages, tools in CONVERSATIONS:
            for start in range(2, len(messages)):
                for end in range(start + 1, min(start + 4, len(messages)) + 1):
                    new = {message["role"] for message in messages[start:end]}
                    asked = (
                        messages[start - 1]["role"] == "assistant" and ("user" in new) is with_user
                    )
                    if asked and self._takes(messages[:end], tools):
                        yield messages[:end], tools, start

    def _takes(self, messages: Sequence[Message], tools: Sequence[Tool] | None) -> bool:
        try:
            self._renderer.prompt(self._renderer.normalized(messages), tools)
        except TemplateError:
            return False
        return True


def _shown(window: Window, messages: Sequence[Message], start: int) -> list[Message] | None:
    """The part of the conversation in the window; None where it has no user message to begin with."""
    head = 0
    while head < start and messages[head].get("role") in HEAD_ROLES:
        head += 1
    user = start - 2
    while user >= head and messages[user].get("role") != "user":
        user -= 1
    if user < head:
        return None
    if window is Window.SINCE_USER:
        return [*messages[:head], *messages[user:]]
    return [*messages[:head], messages[user], *messages[start - 1 :]]
