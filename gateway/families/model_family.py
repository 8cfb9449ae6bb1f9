"""What the gateway knows of a model family: how to recognize it, and how its models write calls and reasoning."""

from __future__ import annotations

import msgspec

from gateway.parsing.call_format import CallFormat
from gateway.parsing.reasoning_format import ReasoningFormat
from gateway.parsing.template_texts import TemplateTexts


class ModelFamily(msgspec.Struct, frozen=True, kw_only=True):
    """One family. A forced call's grammar is a part of its call format.

    A family states no turn boundary: `rollout/chat_template/boundary_finder.py` tries each template when it is loaded.
    """

    name: str
    recognized_by: TemplateTexts
    call_formats: tuple[CallFormat, ...]  # the first one that the chat template shows
    reasoning_formats: tuple[ReasoningFormat, ...] = ()  # likewise
