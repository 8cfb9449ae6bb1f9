"""Sampling parameters and grammars as SGLang's `/generate` names them."""

import msgspec

from rollout.engine.generation import SamplingParameters
from rollout.engine.grammar import CallShape, Ebnf, Grammar, JsonSchema, Regex, ToolCalls

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
        case ToolCalls():
            tag = {"type": "structural_tag", "format": _format(grammar)}
            return {"structural_tag": msgspec.json.encode(tag).decode()}


def _format(grammar: ToolCalls) -> dict[str, object]:
    """The words here are those of xgrammar, which compiles the tag."""
    calls = {
        "type": "triggered_tags",
        "triggers": [grammar.trigger],
        "tags": [_tag(call) for call in grammar.calls],
        "at_least_one": True,
        "stop_after_first": grammar.is_single,
    }
    if grammar.answer_schema is None:
        return calls
    schema = msgspec.json.decode(grammar.answer_schema)
    return {"type": "or", "elements": [{"type": "json_schema", "json_schema": schema}, calls]}


def _tag(call: CallShape) -> dict[str, object]:
    content = {"type": "json_schema", "json_schema": call.arguments, "style": call.style}
    return {"type": "tag", "begin": call.begin, "content": content, "end": call.end}
