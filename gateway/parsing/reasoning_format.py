"""One way of writing reasoning, and the one that several families share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from gateway.parsing.reasoning import ReasoningParser, TaggedReasoning
from gateway.parsing.template_texts import TemplateTexts, all_of


class ReasoningFormat(msgspec.Struct, frozen=True, kw_only=True):
    """`parser` makes a parser for one output from the end of its prompt."""

    name: str
    shown_by: TemplateTexts
    parser: Callable[[str], ReasoningParser]
    markers: tuple[str, ...]  # its tags, which may be special tokens
    begin: str  # of a thought, as a grammar writes it
    end: str
    closed: str | None  # ends a prompt that leaves no thought to the model; None if no prompt does
    answer: str = ""  # what begins an answer that is no call

    def is_open(self, prompt_tail: str) -> bool:
        """Whether the prompt has begun the thought."""
        return prompt_tail.rstrip().endswith(self.begin)

    def is_over(self, prompt_tail: str) -> bool:
        """Whether the prompt leaves no thought to the model."""
        return self.closed is not None and prompt_tail.rstrip().endswith(self.closed)


def tagged(name: str, opening: str, closing: str, *, shown_by: str) -> ReasoningFormat:
    """Reasoning between two tags."""
    return ReasoningFormat(
        name=name,
        shown_by=all_of(shown_by),
        parser=partial(TaggedReasoning, opening, closing),
        markers=(opening, closing),
        begin=opening,
        end=closing,
        closed=closing,
    )


THINK = tagged("think", "<think>", "</think>", shown_by="</think>")
