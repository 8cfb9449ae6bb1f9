"""What a Response object shows of the call that asked for it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.dialects.responses.body import ResponsesBody, Text
from gateway.dialects.responses.namespaces import KnownTools
from gateway.dialects.responses.tool_choice import shown_choice
from gateway.request.json_text import json_text


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    shown: Mapping[str, object]  # fields of the object, as they were asked for or are in effect
    tools: KnownTools  # how calls of these are shown
    summarizes: bool  # reasoning is shown as its own summary
    names_reasoning: bool  # reasoning items carry an `encrypted_content`
    shows_logprobs: bool


# Those that OpenAI's reference gives a call without these fields.
DEFAULTS: Mapping[str, object] = {
    "background": False,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": (),
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",  # a prompt that is too long is refused, whatever was asked
    "user": None,
}


def shown_fields(
    asked: ResponsesBody, tools: Sequence[Mapping[str, object]], metadata: Mapping[str, Any]
) -> Mapping[str, object]:
    """The fields of a Response that follow from the call; what it does not say has its default.

    Raises BadRequest for one that a reply could not show, because by then its turn would be recorded.
    """
    given = {
        "frequency_penalty": asked.frequency_penalty,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": asked.max_tool_calls,
        "metadata": metadata,
        "parallel_tool_calls": asked.parallel_tool_calls,
        "presence_penalty": asked.presence_penalty,
        "previous_response_id": asked.previous_response_id,
        "prompt_cache_key": asked.prompt_cache_key,
        "prompt_cache_retention": asked.prompt_cache_retention,
        "reasoning": _shown_reasoning(asked),
        "safety_identifier": asked.safety_identifier,
        "store": asked.store,
        "temperature": asked.temperature,
        "text": _shown_text(asked.text),
        "tool_choice": shown_choice(asked.tool_choice),
        "top_logprobs": asked.top_logprobs,
        "top_p": asked.top_p,
        "user": asked.user,
    }
    effective = {name: value for name, value in given.items() if value is not None}
    for name, value in effective.items():
        if not isinstance(value, str):
            json_text([[value]], name)  # as deep as in an event: {"response": {name: value}}
    return {**DEFAULTS, **effective, "tools": tools}


def _shown_reasoning(asked: ResponsesBody) -> dict[str, object] | None:
    if asked.reasoning is None:
        return None
    return {"effort": asked.reasoning.effort, "summary": asked.reasoning.summary}


def _shown_text(text: Text | None) -> dict[str, object] | None:
    if text is None:
        return None
    shown: dict[str, object] = {"format": _shown_format(text.format)}
    if text.verbosity is not None:
        shown["verbosity"] = text.verbosity
    return shown


def _shown_format(given: dict[str, Any] | None) -> Mapping[str, object]:
    if given is None:
        return {"type": "text"}
    if given["type"] != "json_schema":
        return {"type": given["type"]}
    return {"name": "answer", "description": None, "strict": False} | given
