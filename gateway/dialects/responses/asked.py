"""What a Response object shows of the call that asked for it."""

from collections.abc import Mapping

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    shown: Mapping[str, object]  # fields of the object, as they were asked for or are in effect
    custom_tools: frozenset[str]  # calls of these are shown with plain text as their input
    summarizes: bool  # reasoning is shown as its own summary
    names_reasoning: bool  # reasoning items carry an `encrypted_content`
    shows_logprobs: bool


def shown_fields(**fields: object) -> Mapping[str, object]:
    """The fields of a Response that follow from the call; what is not named has its default."""
    return {**DEFAULTS, **fields}


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
