"""One way of writing tool calls: what the parser reads, and what a grammar forces."""

from __future__ import annotations

import msgspec
import regex

from gateway.parsing.template_texts import TemplateTexts
from gateway.parsing.xml_arguments import ParameterTags
from rollout.engine.grammar import ArgumentStyle

# A name never contains "<", so a tag is not mistaken for the beginning of a name.
JSON_NAME = r'"name"\s*:\s*"(?P<name>[^"\\<]{0,256})"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
JSON_HEADER = regex.compile(rf"\s*\{{\s*{JSON_NAME}")


def opening(pattern: str) -> regex.Pattern[str]:
    """Newlines before a call belong to its markup."""
    return regex.compile(rf"\n*+(?:{pattern})")


class ForcedCall(msgspec.Struct, frozen=True):
    """How a grammar writes one call: `begin` with the function's name for NAME, the arguments, `end`."""

    trigger: str  # the text in `begin` that starts a call
    begin: str
    end: str
    arguments: ArgumentStyle = "json"


class CallFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Patterns for the text around the name and the arguments of a call.

    text `opening` `header` arguments `closing` `between` ...
    """

    name: str
    shown_by: TemplateTexts
    opening: regex.Pattern[str]
    header: regex.Pattern[str]  # group name, perhaps group id; up to the arguments
    closing: regex.Pattern[str] | None = None
    between: regex.Pattern[str] | None = (
        None  # with group `next` another header follows, else the calls end
    )
    parameters: ParameterTags | None = None  # None: the arguments are a JSON object
    is_object: bool = False  # name and arguments are members of a JSON object
    may_be_bare: bool = False  # an output may begin with a header
    markers: tuple[str, ...]  # its tags that may be special tokens
    forced: ForcedCall
