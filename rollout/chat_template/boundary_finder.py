"""Finds turn boundaries by rendering a short window of the conversation instead of all of it.

How short the window may be is tried when the template is loaded: a window is used only if it gave the same boundary as
the whole conversation for every sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from rollout.chat_template.entries import HEAD_ROLES
from rollout.chat_template.openai_messages import Message, Tool, roles_of
from rollout.chat_template.prompt_renderer import PromptRenderer
from rollout.chat_template.rendering import TemplateError
from rollout.chat_template.sample_chats import CONVERSATIONS, ONE_TOOL, STAND_IN
from rollout.chat_template.turn_boundary import BoundaryCutter, TurnBoundary

Sample = tuple[Sequence[Message], Sequence[Tool] | None, int]


class Window(Enum):
    """The history that the text after an output depends on, besides a leading system message."""

    LAST_OUTPUT = "the last user message and the output"
    SINCE_USER = "everything from the last user message on"
    WHOLE = "everything"
    UNKNOWN = "the template does not show where an output ends"


class BoundaryFinder:
    """Finds a template's boundaries through the narrowest window that is safe for what follows the output."""

    def __init__(self, renderer: PromptRenderer, cutter: BoundaryCutter) -> None:
        self._renderer = renderer
        self._cutter = cutter
        self._window_for_tools, self.after_results = self._narrowest_safe(with_user=False)
        self._window_for_user, self.after_questions = self._narrowest_safe(with_user=True)

    def find(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        start: int,
        extra: Mapping[str, Any] | None = None,
    ) -> TurnBoundary | None:
        """The boundary after the output that is `messages[start - 1]`; None where the template rewrites history."""
        roles = set(roles_of(messages)[start:])
        window = self._window_for_user if "user" in roles else self._window_for_tools
        if window is Window.UNKNOWN:
            return None
        if not roles <= {"user", "tool", "assistant"}:
            window = Window.WHOLE
        return self._through(window, messages, tools, start, extra)

    def _through(
        self,
        window: Window,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None,
        start: int,
        extra: Mapping[str, Any] | None = None,
    ) -> TurnBoundary | None:
        shown = _shown(window, messages, start)
        if shown is not None:
            adapted = self._renderer.adapted(shown, start + len(shown) - len(messages))
            try:
                # The tools are listed in the head, and the boundary does not hold the head.
                boundary = self._cutter.cut(adapted, ONE_TOOL if tools else None, extra)
                if tools and boundary is not None and STAND_IN in boundary.suffix:
                    # This template repeats the tools after a question.
                    return self._cutter.cut(adapted, tools, extra)
            except TemplateError:
                pass  # the window may break a rule of the template that the whole conversation keeps
            else:
                return boundary
        return self._cutter.cut(self._renderer.adapted(messages, start), tools, extra)

    def _narrowest_safe(self, *, with_user: bool) -> tuple[Window, str]:
        """The window, and whether outputs that the template shows unchanged are "bridged" or it "branches"."""
        samples = [
            (sample, self._through(Window.WHOLE, *sample))
            for sample in self._samples(with_user=with_user)
        ]
        if any(_includes_next(boundary, sample) for sample, boundary in samples):
            return Window.UNKNOWN, "branches"
        outcome = "bridged" if any(boundary for _, boundary in samples) else "branches"
        for window in (Window.LAST_OUTPUT, Window.SINCE_USER):
            found = ((self._through(window, *sample), whole) for sample, whole in samples)
            if all(_pieces(boundary) == _pieces(whole) for boundary, whole in found):
                return window, outcome
        return Window.WHOLE, outcome

    def _samples(self, *, with_user: bool) -> Iterator[Sample]:
        """Every place in the sample conversations where messages follow an output, if the template accepts them."""
        for messages, tools in CONVERSATIONS:
            outputs = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
            for start in (index + 1 for index in outputs):
                for end in range(start + 1, min(start + 4, len(messages)) + 1):
                    has_user = any(message["role"] == "user" for message in messages[start:end])
                    if has_user is with_user and self._accepts(messages[:end], tools):
                        yield messages[:end], tools, start

    def _accepts(self, messages: Sequence[Message], tools: Sequence[Tool] | None) -> bool:
        try:
            self._renderer.prompt(self._renderer.normalized(messages), tools)
        except TemplateError:
            return False
        return True


def _shown(window: Window, messages: Sequence[Message], start: int) -> list[Message] | None:
    """The part of the conversation in the window; None if that is all of it."""
    if window is Window.WHOLE:
        return None
    head, roles = 0, roles_of(messages)
    while head < start and roles[head] in HEAD_ROLES:
        head += 1
    user = start - 2
    while user >= head and not (roles[user] == "user" and _is_question(messages[user])):
        user -= 1
    if user < head:
        return None
    if window is Window.SINCE_USER:
        return [*messages[:head], *messages[user:]]
    return [*messages[:head], messages[user], *messages[start - 1 :]]


def _is_question(message: Message) -> bool:
    """Whether a user's message is one; Qwen's templates treat one of this form as a tool's result."""
    return not str(message.get("content")).startswith("<tool_response>")


def _pieces(boundary: TurnBoundary | None) -> tuple[str, str, str] | None:
    return boundary.pieces if boundary is not None else None


def _includes_next(boundary: TurnBoundary | None, sample: Sample) -> bool:
    """Whether the boundary's output includes the messages that follow it."""
    messages, _, start = sample
    return boundary is not None and any(
        message["content"].strip() in boundary.output
        for message in messages[start:]
        if message["role"] != "assistant"
    )
