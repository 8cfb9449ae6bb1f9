"""The ways of writing tool calls that are known, one record each."""

import secrets
from collections.abc import Mapping

import regex

from gateway.parsing.calls import CallFormat
from gateway.parsing.json_types import ANY, STRING
from gateway.parsing.xml_arguments import ParameterTags


def _opening(pattern: str) -> regex.Pattern[str]:
    """Newlines in front of a call belong to its markup."""
    return regex.compile(rf"\n*+(?:{pattern})")


def _short_id() -> str:
    """Mistral's templates refuse ids of any other length."""
    return secrets.token_hex(5)[:9]


# A name never contains "<", so a tag is not mistaken for a part of a name that has only begun.
_JSON_NAME = (
    r'"name"\s*:\s*"(?P<name>[^"\\<]{0,256})"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_JSON_HEADER = regex.compile(rf"\s*\{{\s*{_JSON_NAME}")

TOOL_FORMATS: Mapping[str, CallFormat] = {
    # <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>
    "hermes": CallFormat(
        opening=_opening("<tool_call>"),
        header=_JSON_HEADER,
        closing=regex.compile(r"\s*</tool_call>"),
        is_object=True,
        markers=("<tool_call>", "</tool_call>"),
    ),
    # <tool_call>\n<function=f>\n<parameter=key>\nvalue\n</parameter>\n</function>\n</tool_call>
    "qwen_xml": CallFormat(
        opening=_opening("<tool_call>"),
        header=regex.compile(r"\s*<function=(?P<name>[^<>\s]+)>"),
        parameters=ParameterTags(
            key=regex.compile(
                r"\s*(?:<parameter=(?P<key>[^<>\n]+)>(?:\n|(?=[^\n]))|(?=</function>))"
            ),
            value_end=regex.compile(r"\n</parameter>|</parameter>"),
            unknown=STRING,
        ),
        closing=regex.compile(r"\s*</function>\s*</tool_call>"),
        markers=("<tool_call>", "</tool_call>"),
    ),
    # <tool_call>f\n<arg_key>key</arg_key>\n<arg_value>value</arg_value>\n</tool_call>
    "glm": CallFormat(
        opening=_opening("<tool_call>"),
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
    ),
    # <minimax:tool_call>\n<invoke name="f">\n<parameter name="key">value</parameter>\n</invoke>\n</minimax:tool_call>
    "minimax": CallFormat(
        opening=_opening("<minimax:tool_call>"),
        header=regex.compile(r'\s*<invoke name="(?P<name>[^"<>]+)">'),
        parameters=ParameterTags(
            key=regex.compile(
                r'\s*(?:<parameter name="(?P<key>[^"<>]+)">\n*(?=[^\n])|(?=</invoke>))'
            ),
            value_end=regex.compile(r"\n*</parameter>"),
            unknown=STRING,
        ),
        closing=regex.compile(r"\s*</invoke>"),
        between=regex.compile(r"\s*(?:(?P<next>(?=<invoke ))|</minimax:tool_call>)"),
        markers=("<minimax:tool_call>", "</minimax:tool_call>"),
    ),
    # {"name": "f", "parameters": {...}}, alone or several with ";" between; <|python_tag|> may stand in front
    "llama": CallFormat(
        opening=_opening(r"<\|python_tag\|>"),
        header=regex.compile(rf'\s*\{{\s*(?:"type"\s*:\s*"function"\s*,\s*)?{_JSON_NAME}'),
        between=regex.compile(r"\s*(?:;\s*(?P<next>(?=\{))|(?P<next>(?=\{)))"),
        is_object=True,
        may_be_bare=True,
        markers=("<|python_tag|>",),
    ),
    # <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{...}\n```<｜tool▁call▁end｜>...<｜tool▁calls▁end｜>
    "deepseek_v3": CallFormat(
        opening=_opening("<｜tool▁calls▁begin｜>"),
        header=regex.compile(
            r"\s*<｜tool▁call▁begin｜>function<｜tool▁sep｜>(?P<name>[^<>\s]+)\n```json\n\s*(?=\{)"
        ),
        closing=regex.compile(r"\s*```\s*<｜tool▁call▁end｜>"),
        between=regex.compile(r"\s*(?:(?P<next>(?=<｜tool▁call▁begin｜>))|<｜tool▁calls▁end｜>)"),
        markers=(
            *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁sep｜>"),
            *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
        ),
    ),
    # <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{...}<｜tool▁call▁end｜>...<｜tool▁calls▁end｜>
    "deepseek_v31": CallFormat(
        opening=_opening("<｜tool▁calls▁begin｜>"),
        header=regex.compile(r"\s*<｜tool▁call▁begin｜>(?P<name>[^<>\s]+)<｜tool▁sep｜>\s*(?=\{)"),
        closing=regex.compile(r"\s*<｜tool▁call▁end｜>"),
        between=regex.compile(r"\s*(?:(?P<next>(?=<｜tool▁call▁begin｜>))|<｜tool▁calls▁end｜>)"),
        markers=(
            *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁sep｜>"),
            *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
        ),
    ),
    # <|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{...}<|tool_call_end|>...
    "kimi": CallFormat(
        opening=_opening(r"<\|tool_calls_section_begin\|>"),
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
    ),
    # an array of calls: [TOOL_CALLS] [{"name": "f", "arguments": {...}}, ...]
    "mistral": CallFormat(
        opening=_opening(r"\[TOOL_CALLS\]\s*\["),
        header=_JSON_HEADER,
        between=regex.compile(r"\s*(?:(?P<next>,)|\])"),
        is_object=True,
        markers=("[TOOL_CALLS]",),
        new_id=_short_id,
    ),
    # [TOOL_CALLS]f[ARGS]{...}[TOOL_CALLS]g[ARGS]{...}
    "mistral_named": CallFormat(
        opening=_opening(r"\[TOOL_CALLS\]"),
        header=regex.compile(
            r"\s*(?P<name>[\w.\-]+)\s*(?:\[CALL_ID\](?P<id>[\w\-]*))?\[ARGS\]\s*(?=\{)"
        ),
        markers=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
        new_id=_short_id,
    ),
    # as `harmony.py` gives it: <|channel|>commentary to=functions.f<|message|>{...}<|call|>
    "harmony": CallFormat(
        opening=_opening(r"<\|channel\|>commentary to="),
        header=regex.compile(r"(?:functions\.)?(?P<name>[^<>\s]+)<\|message\|>\s*(?=\{)"),
        closing=regex.compile(r"\s*<\|call\|>"),
        markers=("<|call|>",),
    ),
}
