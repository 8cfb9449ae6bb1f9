"""Kimi-K2: calls in sections of special tokens, each with its id in the header."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import CallFormat, ForcedCall, opening
from gateway.parsing.reasoning_format import THINK, tagged
from gateway.parsing.template_texts import TemplateTexts, all_of

# <|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{...}<|tool_call_end|>...
CALLS = CallFormat(
    name="kimi",
    # Kimi-K2's first template shows tools and no calls.
    shown_by=TemplateTexts((("<|tool_calls_section_begin|>",), ("<|im_middle|>",))),
    opening=opening(r"<\|tool_calls_section_begin\|>"),
    header=regex.compile(
        r"\s*<\|tool_call_begin\|>\s*(?P<id>(?:functions\.)?(?P<name>[\w.\-]+):\d+)\s*"
        r"<\|tool_call_argument_begin\|>\s*(?=\{)"
    ),
    closing=regex.compile(r"\s*<\|tool_call_end\|>"),
    between=regex.compile(
        r"\s*(?:(?P<next>(?=<\|tool_call_begin\|>))|<\|tool_calls_section_end\|>)"
    ),
    markers=(
        *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_end|>"),
        *("<|tool_call_begin|>", "<|tool_call_argument_begin|>"),
    ),
    forced=ForcedCall(
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>",
        "<|tool_call_end|><|tool_calls_section_end|>",
    ),
)

KIMI = ModelFamily(
    name="Kimi-K2",
    recognized_by=all_of("<|im_middle|>"),
    call_formats=(CALLS,),
    reasoning_formats=(
        THINK,
        tagged("kimi_think", "◁think▷", "◁/think▷", shown_by="◁/think▷"),
    ),
)
