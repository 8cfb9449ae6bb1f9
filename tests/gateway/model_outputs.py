"""Writes messages as each family's chat template does: the inverse of the parsers."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.families.registry import call_formats, output_reader, reasoning_formats
from gateway.parsing.output_parser import OutputParser

Call = tuple[str, dict[str, Any]]

PROPERTIES = {
    "city": {"type": "string"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "flag": {"type": "boolean"},
    "tags": {"type": "array"},
    "options": {"type": "object"},
}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": PROPERTIES},
        },
    }
    for name in ("price", "look_up")
]


def output_parser(
    call_format: str | None, reasoning_format: str | None, **options: Any
) -> OutputParser:
    """A parser for the formats of these names."""
    return OutputParser(
        call_formats()[call_format] if call_format else None,
        reasoning_formats()[reasoning_format] if reasoning_format else None,
        **options,
    )


def shown_formats(template_source: str) -> tuple[str | None, str | None]:
    """The names of the formats of calls and reasoning that a template shows."""
    reader = output_reader(template_source)
    return (
        reader.call_format.name if reader.call_format else None,
        reader.reasoning_format.name if reader.reasoning_format else None,
    )


def spelled(value: object) -> str:
    """A parameter's value in a format that writes values as text."""
    return value if isinstance(value, str) else dumps(value)


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def hermes(calls: Sequence[Call]) -> str:
    return "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {dumps(arguments)}}}\n</tool_call>'
        for name, arguments in calls
    )


def qwen_xml(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: dict[str, Any]) -> str:
        given = [f"<parameter={k}>\n{spelled(v)}\n</parameter>\n" for k, v in arguments.items()]
        return f"<tool_call>\n<function={name}>\n{''.join(given)}</function>\n</tool_call>"

    return "\n".join(one(*call) for call in calls)


def glm(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: dict[str, Any]) -> str:
        given = [
            f"<arg_key>{k}</arg_key>\n<arg_value>{spelled(v)}</arg_value>\n"
            for k, v in arguments.items()
        ]
        return f"<tool_call>{name}\n{''.join(given)}</tool_call>"

    return "\n".join(one(*call) for call in calls)


def minimax(calls: Sequence[Call]) -> str:
    def one(name: str, arguments: dict[str, Any]) -> str:
        given = [f'<parameter name="{k}">{spelled(v)}</parameter>\n' for k, v in arguments.items()]
        return f'<invoke name="{name}">\n{"".join(given)}</invoke>\n'

    return f"<minimax:tool_call>\n{''.join(one(*call) for call in calls)}</minimax:tool_call>"


def llama(calls: Sequence[Call]) -> str:
    return "<|python_tag|>" + ";".join(
        f'{{"name": "{name}", "parameters": {dumps(arguments)}}}' for name, arguments in calls
    )


def deepseek_v3(calls: Sequence[Call]) -> str:
    written = "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{dumps(arguments)}\n```<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{written}<｜tool▁calls▁end｜>"


def deepseek_v31(calls: Sequence[Call]) -> str:
    written = "".join(
        f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{dumps(arguments)}<｜tool▁call▁end｜>"
        for name, arguments in calls
    )
    return f"<｜tool▁calls▁begin｜>{written}<｜tool▁calls▁end｜>"


def kimi(calls: Sequence[Call]) -> str:
    written = "".join(
        f"<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>{dumps(arguments)}<|tool_call_end|>"
        for index, (name, arguments) in enumerate(calls)
    )
    return f"<|tool_calls_section_begin|>{written}<|tool_calls_section_end|>"


def mistral(calls: Sequence[Call]) -> str:
    written = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return f"[TOOL_CALLS] {dumps(written)}"


def mistral_named(calls: Sequence[Call]) -> str:
    return "".join(f"[TOOL_CALLS]{name}[ARGS]{dumps(arguments)}" for name, arguments in calls)


CALLS: Mapping[str, Callable[[Sequence[Call]], str]] = {
    writer.__name__: writer
    for writer in (
        *(hermes, qwen_xml, glm, minimax, llama),
        *(deepseek_v3, deepseek_v31, kimi, mistral, mistral_named),
    )
}
THOUGHTS: Mapping[str, str] = {
    "think": "<think>\n{}\n</think>\n\n",
    "mistral_think": "[THINK]{}[/THINK]",
    "kimi_think": "◁think▷{}◁/think▷",
}
# What each family writes its reasoning in.
REASONING_OF = dict.fromkeys(CALLS, "think") | {
    "mistral": "mistral_think",
    "mistral_named": "mistral_think",
    "harmony": "harmony",
}
MARKUP = re.compile(r"<[^<>\s]*>|\[/?[A-Z_]+\]|◁/?think▷|```|[{}\[\]\"\\;,:\n]")


def harmony(thought: str, content: str, calls: Sequence[Call]) -> str:
    """gpt-oss: content before a call is written in the commentary channel."""
    channel, end = ("commentary", "end") if calls else ("final", "return")
    messages = [f"<|channel|>analysis<|message|>{thought}<|end|>"] if thought else []
    messages += [f"<|channel|>{channel}<|message|>{content}<|{end}|>"] if content else []
    messages += [
        f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{dumps(arguments)}<|call|>"
        for name, arguments in calls
    ]
    return "<|start|>assistant".join(messages)


def written(tools: str, thought: str, content: str, calls: Sequence[Call]) -> str:
    """A whole output."""
    if tools == "harmony":
        return harmony(thought, content, calls)
    opened = THOUGHTS[REASONING_OF[tools]].format(thought) if thought else ""
    return opened + content + (f"\n{CALLS[tools](calls)}" if calls else "")
