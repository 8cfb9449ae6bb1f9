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


def tagged(name: str, opening: str, closing: str, *, shown_by: str) -> ReasoningFormat:
    """Reasoning between two tags."""
    return ReasoningFormat(
        name=name,
        shown_by=all_of(shown_by),
        parser=partial(TaggedReasoning, opening, closing),
        markers=(opening, closing),
    )


THINK = tagged("think", "<think>", "</think>", shown_by="</think>")
