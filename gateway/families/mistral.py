"""Mistral and Ministral: calls after a [TOOL_CALLS] token, as one JSON array or each with its name in front."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import JSON_HEADER, CallFormat, ForcedCall, opening
from gateway.parsing.reasoning_format import tagged
from gateway.parsing.template_texts import TemplateTexts, all_of

# an array of calls: [TOOL_CALLS] [{"name": "f", "arguments": {...}}, ...]
ARRAY = CallFormat(
    name="mistral",
    shown_by=all_of("[TOOL_CALLS]"),
    opening=opening(r"\[TOOL_CALLS\]\s*\["),
    header=JSON_HEADER,
    between=regex.compile(r"\s*(?:(?P<next>,)|\])"),
    is_object=True,
    markers=("[TOOL_CALLS]",),
    forced=ForcedCall("[TOOL_CALLS]", '[TOOL_CALLS] [{"name": "NAME", "arguments": ', "}]"),
)

# [TOOL_CALLS]f[ARGS]{...}[TOOL_CALLS]g[ARGS]{...}
NAMED = CallFormat(
    name="mistral_named",
    shown_by=all_of("[TOOL_CALLS]", "[ARGS]"),
    opening=opening(r"\[TOOL_CALLS\]"),
    header=regex.compile(
        r"\s*(?P<name>[\w.\-]+)\s*(?:\[CALL_ID\](?P<id>[\w\-]*))?\[ARGS\]\s*(?=\{)"
    ),
    markers=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    forced=ForcedCall("[TOOL_CALLS]", "[TOOL_CALLS]NAME[ARGS]", ""),
)

MISTRAL = ModelFamily(
    name="Mistral, Ministral",
    recognized_by=TemplateTexts((("[TOOL_CALLS]",), ("[SYSTEM_PROMPT]",))),
    call_formats=(NAMED, ARRAY),
    reasoning_formats=(tagged("mistral_think", "[THINK]", "[/THINK]", shown_by="[THINK]"),),
)
