"""Forced tool calls and structured answers as a grammar that the engine enforces while sampling.

A call is constrained token by token to its family's tags and the function's JSON schema, so it cannot fail to parse.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import orjson

from gateway.errors import BadRequest
from gateway.request.request import Request, Tool
from rollout.engine.grammar import (
    ArgumentStyle,
    CallShape,
    Ebnf,
    Grammar,
    JsonSchema,
    Regex,
    ToolCalls,
)


class _CallTag(NamedTuple):
    """How a format writes one call: before the arguments, after them, and what in the first gives the call away."""

    trigger: str
    begin: str  # with NAME in it
    end: str
    style: ArgumentStyle = "json"


_CALL_TAGS: Mapping[str, _CallTag] = {
    "hermes": _CallTag(
        "<tool_call>", '<tool_call>\n{"name": "NAME", "arguments": ', "}\n</tool_call>"
    ),
    "qwen_xml": _CallTag(
        "<tool_call>",
        "<tool_call>\n<function=NAME>\n",
        "\n</function>\n</tool_call>",
        style="qwen_xml",
    ),
    "glm": _CallTag("<tool_call>", "<tool_call>NAME\n", "\n</tool_call>", style="glm_xml"),
    "minimax": _CallTag(
        "<minimax:tool_call>",
        '<minimax:tool_call>\n<invoke name="NAME">\n',
        "\n</invoke>\n</minimax:tool_call>",
        style="minimax_xml",
    ),
    "llama": _CallTag('{"name": ', '{"name": "NAME", "parameters": ', "}"),
    "deepseek_v3": _CallTag(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\n",
        "\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    "deepseek_v31": _CallTag(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>",
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    ),
    "kimi": _CallTag(
        "<|tool_calls_section_begin|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>",
        "<|tool_call_end|><|tool_calls_section_end|>",
    ),
    "mistral": _CallTag("[TOOL_CALLS]", '[TOOL_CALLS] [{"name": "NAME", "arguments": ', "}]"),
    "mistral_named": _CallTag("[TOOL_CALLS]", "[TOOL_CALLS]NAME[ARGS]", ""),
    # its <|call|> ends the output, which no grammar needs to say
    "harmony": _CallTag(
        "<|channel|>commentary to=",
        "<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>",
        "",
    ),
}


def grammar(request: Request, tool_format: str | None) -> Grammar | None:
    """The request's grammar, if it asks for one."""
    kinds: Mapping[str, Callable[[str], Grammar]] = {
        "regex": Regex,
        "ebnf": Ebnf,
        "json_schema": JsonSchema,
    }
    given = {
        name: kind(text)
        for name, kind in kinds.items()
        if (text := getattr(request.sampling, name)) is not None
    }
    if len(given) > 1:
        raise BadRequest(f"only one of {', '.join(given)} can be set", code="invalid_value")
    if request.tool_choice.is_forced:
        if given:
            raise BadRequest(
                f"tool_choice forces a call, which cannot also satisfy {next(iter(given))}",
                param="tool_choice",
                code="invalid_value",
            )
        return _calls(request, tool_format)
    if "json_schema" in given and request.offered_tools and tool_format in _CALL_TAGS:
        return _calls(request, tool_format, answer_schema=request.sampling.json_schema)
    return next(iter(given.values()), None)


def _calls(
    request: Request, tool_format: str | None, *, answer_schema: str | None = None
) -> ToolCalls:
    """At least one call, of the named function or of any."""
    if tool_format is None or tool_format not in _CALL_TAGS:
        raise BadRequest(
            f"tool_choice {request.tool_choice.mode} is not supported for this model's tool-call format",
            param="tool_choice",
            code="unsupported_value",
        )
    tag = _CALL_TAGS[tool_format]
    name = request.tool_choice.name
    return ToolCalls(
        trigger=tag.trigger,
        calls=tuple(_shape(tag, *function) for function in _functions(request.tools, name)),
        is_single=name is not None or not request.parallel_tool_calls,
        answer_schema=answer_schema,
    )


def _functions(tools: Iterable[Tool], name: str | None) -> Iterable[tuple[str, object]]:
    for tool in tools:
        function = tool["function"]
        assert isinstance(function, dict)
        if name is None or function["name"] == name:
            yield function["name"], function.get("parameters") or {"type": "object"}


def _shape(tag: _CallTag, name: str, parameters: object) -> CallShape:
    quoted = orjson.dumps(name).decode()[1:-1]
    return CallShape(tag.begin.replace("NAME", quoted), parameters, tag.end, tag.style)
