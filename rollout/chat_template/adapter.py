"""Brings a conversation into a form that one template can show; which repairs it needs is tried when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rollout.chat_template.entries import Entry
from rollout.chat_template.known_repairs import REPAIRS
from rollout.chat_template.message_form import MessageForm
from rollout.chat_template.openai_messages import Message, Tool
from rollout.chat_template.rendering import TemplateError
from rollout.chat_template.repair import Repair

Normalized = Sequence[dict[str, Any]]
Render = Callable[[Normalized, Sequence[Tool] | None], str]


class Adapted(msgspec.Struct, frozen=True):
    """A conversation as the template reads it; `start` counts the messages up to the stored output, it included."""

    messages: Normalized
    start: int
    is_exact: bool  # the stored output is shown in its own words
    notes: tuple[str, ...]


class Adapter:
    def __init__(self, form: MessageForm, render: Render) -> None:
        self._needed: list[Repair] = []
        self._form = form
        self._render = render
        # What others turn into a user's message may need the last one.
        for repair in (REPAIRS[-1], *REPAIRS[:-1]):
            if not self._shows(repair):
                self._try(repair)

    def adapt(self, messages: Sequence[Message], start: int = 0) -> Adapted:
        """The conversation with all repairs that this template needs."""
        if not self._needed:
            return Adapted(self._form.messages(messages), start, True, ())
        entries = [Entry(message, place == start - 1) for place, message in enumerate(messages)]
        notes: list[str] = []
        is_exact = True
        for repair in self._needed:
            repaired = repair.apply(entries)
            if repaired is not entries:
                notes.append(repair.note)
                is_exact = is_exact and not (repair.changes_outputs and _differ(entries, repaired))
                entries = repaired
        places = (place for place, entry in enumerate(entries, 1) if entry.is_output)
        shown = self._form.messages([entry.message for entry in entries])
        return Adapted(shown, next(places, start), is_exact, tuple(notes))

    def _try(self, repair: Repair) -> None:
        before = self._needed
        self._needed = sorted([*before, repair], key=REPAIRS.index)
        if not self._shows(repair):
            self._needed = before

    def _shows(self, repair: Repair) -> bool:
        """Whether the template shows the samples of a repair, with the repairs that it is known to need."""
        try:
            shown = [self.adapt(sample).messages for sample in repair.samples]
            texts = [self._render(messages, repair.tools) for messages in shown]
        except TemplateError:
            return False
        return all(
            word in text
            for text, sample in zip(texts, repair.samples, strict=True)
            for word in repair.shows
            if word in repr(sample)
        )


def _differ(before: Sequence[Entry], after: Sequence[Entry]) -> bool:
    """Whether the stored output is another message than before."""
    outputs = [[each.message for each in entries if each.is_output] for entries in (before, after)]
    return any(old is not new for old, new in zip(*outputs, strict=True))
