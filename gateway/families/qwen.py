"""Qwen2.5, Qwen3 and Hermes: ChatML, and each call a JSON object in tags."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import JSON_HEADER, CallFormat, ForcedCall, opening
from gateway.parsing.reasoning_format import THINK
from gateway.parsing.template_texts import all_of

# <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>
HERMES = CallFormat(
    name="hermes",
    shown_by=all_of("<tool_call>"),
    opening=opening("<tool_call>"),
    header=JSON_HEADER,
    closing=regex.compile(r"\s*</tool_call>"),
    is_object=True,
    markers=("<tool_call>", "</tool_call>"),
    forced=ForcedCall(
        "<tool_call>", '<tool_call>\n{"name": "NAME", "arguments": ', "}\n</tool_call>"
    ),
)

QWEN = ModelFamily(
    name="Qwen2.5, Qwen3, Hermes",
    recognized_by=all_of("<|im_start|>", "<tool_call>"),
    call_formats=(HERMES,),
    reasoning_formats=(THINK,),
)
