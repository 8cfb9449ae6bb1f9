"""GLM-4.5 and later: the next message's opener ends a turn, and each parameter has a tag for key and value."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import CallFormat, ForcedCall, opening
from gateway.parsing.json_types import ANY
from gateway.parsing.reasoning_format import THINK
from gateway.parsing.template_texts import all_of
from gateway.parsing.xml_arguments import ParameterTags

# <tool_call>f\n<arg_key>key</arg_key>\n<arg_value>value</arg_value>\n</tool_call>
CALLS = CallFormat(
    name="glm",
    shown_by=all_of("<tool_call>", "<arg_key>"),
    opening=opening("<tool_call>"),
    header=regex.compile(r"\s*(?P<name>[^<>\s{]+)\s*(?=<arg_key>|</tool_call>)"),
    parameters=ParameterTags(
        key=regex.compile(
            r"\s*(?:<arg_key>(?P<key>[^<>]+)</arg_key>\s*<arg_value>|(?=</tool_call>))"
        ),
        value_end=regex.compile(r"</arg_value>"),
        unknown=ANY,
    ),
    closing=regex.compile(r"\s*</tool_call>"),
    markers=(
        *("<tool_call>", "</tool_call>"),
        *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    ),
    forced=ForcedCall("<tool_call>", "<tool_call>NAME\n", "\n</tool_call>", arguments="glm_xml"),
)

GLM = ModelFamily(
    name="GLM-4.5 and later",
    recognized_by=all_of("<|observation|>"),
    call_formats=(CALLS,),
    reasoning_formats=(THINK,),
)
