"""Llama 3: a call is a JSON object that may be the whole output."""

import regex

from gateway.families.model_family import ModelFamily
from gateway.parsing.call_format import JSON_NAME, CallFormat, ForcedCall, opening
from gateway.parsing.template_texts import all_of

# {"name": "f", "parameters": {...}}, alone or several with ";" between; <|python_tag|> may stand in front
CALLS = CallFormat(
    name="llama",
    shown_by=all_of('{"name": function name, "parameters":'),
    opening=opening(r"<\|python_tag\|>"),
    header=regex.compile(rf'\s*\{{\s*(?:"type"\s*:\s*"function"\s*,\s*)?{JSON_NAME}'),
    between=regex.compile(r"\s*(?:;\s*(?P<next>(?=\{))|(?P<next>(?=\{)))"),
    is_object=True,
    may_be_bare=True,
    markers=("<|python_tag|>",),
    forced=ForcedCall('{"name": ', '{"name": "NAME", "parameters": ', "}"),
)

LLAMA = ModelFamily(
    name="Llama 3", recognized_by=all_of("<|start_header_id|>"), call_formats=(CALLS,)
)
