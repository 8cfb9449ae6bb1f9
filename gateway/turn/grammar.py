"""Forced tool calls and structured answers as a grammar that the engine enforces while sampling.

A call is constrained token by token to its family's tags and the function's JSON schema, so it cannot fail to parse.
"""

from collections.abc import Iterable

import orjson

from gateway.errors import BadRequest
from gateway.parsing.call_format import CallFormat, ForcedCall
from gateway.parsing.reasoning_format import ReasoningFormat
from gateway.request.request import Request
from gateway.request.tools import Tool
from gateway.turn.grammar_limits import MAX_EBNF, MAX_REGEX, SchemaLimits, check_pattern
from rollout.engine.grammar import (
    AfterThought,
    Answer,
    CallShape,
    Ebnf,
    Grammar,
    JsonSchema,
    Regex,
    Thought,
    ToolCalls,
)

MAX_ANSWER = 4096  # tokens of max_tokens that a thought leaves free; of a smaller one half


def given_grammar(regex: str | None, ebnf: str | None, json_schema: str | None) -> Grammar | None:
    """The one of these that a caller gave."""
    given: dict[str, Grammar] = {}
    if regex is not None:
        check_pattern("regex", regex, max_characters=MAX_REGEX)
        given["regex"] = Regex(regex)
    if ebnf is not None:
        check_pattern("ebnf", ebnf, max_characters=MAX_EBNF)
        given["ebnf"] = Ebnf(ebnf)
    if json_schema is not None:
        given["json_schema"] = JsonSchema(json_schema)
    if len(given) > 1:
        raise BadRequest(f"only one of {', '.join(given)} can be set", code="invalid_value")
    return next(iter(given.values()), None)


def grammar(request: Request, call_format: CallFormat | None) -> Answer | None:
    """The request's grammar, if it asks for one."""
    given = request.sampling.grammar
    assert not isinstance(given, AfterThought), "a caller gives the grammar of the answer"
    if request.tool_choice.is_forced:
        if given is not None:
            raise BadRequest(
                "tool_choice forces a call, which cannot also satisfy a grammar or a response_format",
                param="tool_choice",
                code="invalid_value",
            )
        return _calls(request, call_format)
    if isinstance(given, JsonSchema) and request.offered_tools and call_format is not None:
        return _calls(request, call_format, answer_schema=given.schema)
    return given


def after_thought(
    answer: Answer,
    reasoning: ReasoningFormat | None,
    *,
    prompt_tail: str,
    max_tokens: int,
) -> Grammar:
    """The grammar for a model that thinks first: it begins where the thought ends, unless the prompt has ended it."""
    if reasoning is None or reasoning.is_over(prompt_tail):
        return answer
    begin = "" if reasoning.is_open(prompt_tail) else reasoning.begin
    room = max_tokens - min(max_tokens // 2, MAX_ANSWER)
    thought = Thought(
        begin=begin,
        end=reasoning.end,
        answer=reasoning.answer,
        max_tokens=1 << (room.bit_length() - 1),  # few different ones, as each is compiled
    )
    return AfterThought(thought, answer)


def _calls(
    request: Request, call_format: CallFormat | None, *, answer_schema: str | None = None
) -> ToolCalls:
    """At least one call, of the named function or of any."""
    if call_format is None:
        raise BadRequest(
            f"tool_choice {request.tool_choice.mode} is not supported for this model's tool-call format",
            param="tool_choice",
            code="unsupported_value",
        )
    call = call_format.forced
    name = request.tool_choice.name
    limits = SchemaLimits()
    for function, parameters in _functions(request.tools, name):
        limits.add(parameters, f"the parameters of {function}")
    return ToolCalls(
        trigger=call.trigger,
        calls=tuple(_shape(call, *function) for function in _functions(request.tools, name)),
        is_single=name is not None or not request.parallel_tool_calls,
        answer_schema=answer_schema,
    )


def _functions(tools: Iterable[Tool], name: str | None) -> Iterable[tuple[str, object]]:
    for tool in tools:
        function = tool["function"]
        assert isinstance(function, dict)
        if name is None or function["name"] == name:
            yield function["name"], function.get("parameters") or {"type": "object"}


def _shape(call: ForcedCall, name: str, parameters: object) -> CallShape:
    quoted = orjson.dumps(name).decode()[1:-1]
    return CallShape(call.begin.replace("NAME", quoted), parameters, call.end, call.arguments)
