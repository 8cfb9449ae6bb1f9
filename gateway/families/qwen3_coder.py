"""Qwen3-Coder, Qwen3.5 and later, Nemotron 3: ChatML, and each parameter of a call in tags of its own."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import CallFormat, ForcedCall, opening
from gateway.parsing.json_types import STRING
from gateway.parsing.reasoning_format import THINK
from gateway.parsing.template_texts import all_of
from gateway.parsing.xml_arguments import ParameterTags

# <tool_call>\n<function=f>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call>
QWEN_XML = CallFormat(
    name="qwen_xml",
    shown_by=all_of("<tool_call>", "<function="),
    opening=opening("<tool_call>"),
    header=regex.compile(r"\s*<function=(?P<name>[^<>\s]+)>"),
    parameters=ParameterTags(
        key=regex.compile(r"\s*(?:<parameter=(?P<key>[^<>\n]+)>(?:\n|(?=[^\n]))|(?=</function>))"),
        value_end=regex.compile(r"\n</parameter>|</parameter>"),
        unknown=STRING,
    ),
    closing=regex.compile(r"\s*</function>\s*</tool_call>"),
    markers=("<tool_call>", "</tool_call>"),
    forced=ForcedCall(
        "<tool_call>",
        "<tool_call>\n<function=NAME>\n",
        "\n</function>\n</tool_call>",
        arguments="qwen_xml",
    ),
)

QWEN3_CODER = ModelFamily(
    name="Qwen3-Coder, Qwen3.5 and later, Nemotron 3",
    recognized_by=all_of("<|im_start|>", "<function="),
    call_formats=(QWEN_XML,),
    reasoning_formats=(THINK,),
)
