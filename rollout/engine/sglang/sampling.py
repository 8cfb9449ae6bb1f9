"""Sampling parameters and grammars as SGLang's `/generate` names them."""

import msgspec

from rollout.engine.generation import SamplingParameters
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
from rollout.engine.sglang.server.grammars.limits import MAX_WHITESPACE

_NAMES = {"max_tokens": "max_new_tokens", "min_tokens": "min_new_tokens", "seed": "sampling_seed"}


def sampling_params(parameters: SamplingParameters) -> dict[str, object]:
    """The fields that are set, under SGLang's names; it has defaults for the others."""
    grammar = parameters.grammar
    plain = parameters if grammar is None else msgspec.structs.replace(parameters, grammar=None)
    named = {_NAMES.get(name, name): value for name, value in msgspec.to_builtins(plain).items()}
    if parameters.seed is not None:
        named["sampling_seed"] %= 2**63  # SGLang reads an int64
    return named if grammar is None else named | named_grammar(grammar)


def named_grammar(grammar: Grammar) -> dict[str, str]:
    """The one field that holds it, with its text."""
    match grammar:
        case Regex(pattern):
            return {"regex": pattern}
        case Ebnf(rules):
            return {"ebnf": rules}
        case JsonSchema(schema):
            return {"json_schema": schema}
        case ToolCalls() | AfterThought():
            tag = {"type": "structural_tag", "format": _format(grammar)}
            return {"structural_tag": msgspec.json.encode(tag).decode()}


def _format(grammar: Grammar) -> dict[str, object]:
    """The words here are those of xgrammar, which compiles the tag."""
    match grammar:
        case Regex(pattern):
            return {"type": "regex", "pattern": pattern}
        case Ebnf(rules):
            return {"type": "grammar", "grammar": rules}
        case JsonSchema(schema):
            return _json(msgspec.json.decode(schema))
        case ToolCalls():
            return _calls(grammar)
        case AfterThought(thought, answer):
            return _after(thought, answer)


def _after(thought: Thought, answer: Answer) -> dict[str, object]:
    text = {"type": "any_text", "max_tokens": thought.max_tokens}
    written = _sequence(
        {"type": "tag", "begin": thought.begin, "content": text, "end": thought.end},
        {"type": "regex", "pattern": r"\n{0,2}"},
    )
    first = written if not thought.begin else {"type": "optional", "content": written}
    opening = [] if isinstance(answer, ToolCalls) or not thought.answer else [thought.answer]
    return _sequence(
        first, *({"type": "const_string", "value": text} for text in opening), _format(answer)
    )


def _sequence(*elements: object) -> dict[str, object]:
    return {"type": "sequence", "elements": elements}


def _json(schema: object) -> dict[str, object]:
    return {
        "type": "json_schema",
        "json_schema": schema,
        "max_whitespace_cnt": MAX_WHITESPACE,
    }


def _calls(grammar: ToolCalls) -> dict[str, object]:
    calls = {
        "type": "triggered_tags",
        "triggers": [grammar.trigger],
        "tags": [_tag(call) for call in grammar.calls],
        "at_least_one": True,
        "stop_after_first": grammar.is_single,
    }
    if grammar.answer_schema is None:
        return calls
    return {"type": "or", "elements": [_json(msgspec.json.decode(grammar.answer_schema)), calls]}


def _tag(call: CallShape) -> dict[str, object]:
    content = {**_json(call.arguments), "style": call.style}
    return {"type": "tag", "begin": call.begin, "content": content, "end": call.end}
