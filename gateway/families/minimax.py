"""MiniMax: calls as `invoke` tags, each parameter in a tag of its own."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import CallFormat, ForcedCall, opening
from gateway.parsing.json_types import STRING
from gateway.parsing.reasoning_format import THINK
from gateway.parsing.template_texts import all_of
from gateway.parsing.xml_arguments import ParameterTags

# <minimax:tool_call>\n<invoke name="f">\n<parameter name="key">value</parameter>\n</invoke>\n</minimax:tool_call>
CALLS = CallFormat(
    name="minimax",
    shown_by=all_of("<minimax:tool_call>", "<invoke "),
    opening=opening("<minimax:tool_call>"),
    header=regex.compile(r'\s*<invoke name="(?P<name>[^"<>]+)">'),
    parameters=ParameterTags(
        key=regex.compile(r'\s*(?:<parameter name="(?P<key>[^"<>]+)">\n*(?=[^\n])|(?=</invoke>))'),
        value_end=regex.compile(r"\n*</parameter>"),
        unknown=STRING,
    ),
    closing=regex.compile(r"\s*</invoke>"),
    between=regex.compile(r"\s*(?:(?P<next>(?=<invoke ))|</minimax:tool_call>)"),
    markers=("<minimax:tool_call>", "</minimax:tool_call>"),
    forced=ForcedCall(
        "<minimax:tool_call>",
        '<minimax:tool_call>\n<invoke name="NAME">\n',
        "\n</invoke>\n</minimax:tool_call>",
        arguments="minimax_xml",
    ),
)

MINIMAX = ModelFamily(
    name="MiniMax",
    recognized_by=all_of("]~b]", "[e~["),
    call_formats=(CALLS,),
    reasoning_formats=(THINK,),
)
