"""The body of a Responses call: the fields that have an effect, are shown again in the reply, or are refused."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.bounds import AtLeastOne, Name, Penalty, Temperature, TopLogprobs, TopP
from gateway.dialects.bodies.fields import JsonObject, JsonObjects, no_field
from gateway.dialects.bodies.limits import MAX_MESSAGES, MAX_MODEL
from gateway.request.model_name import ALIAS


class Text(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: Name | None = None


class Reasoning(msgspec.Struct):
    effort: Name | None = None
    summary: Name | None = None


class ResponsesBody(msgspec.Struct):
    input: str | Annotated[list[msgspec.Raw], Meta(max_length=MAX_MESSAGES)] | None = None
    model: Annotated[str, Meta(max_length=MAX_MODEL)] = ALIAS
    instructions: str | None = None
    previous_response_id: Name | None = None
    stream: bool | None = None
    store: bool | None = None
    include: list[Name] | None = None
    tools: JsonObjects = msgspec.field(default_factory=no_field)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: AtLeastOne | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: AtLeastOne | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_logprobs: TopLogprobs | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    truncation: Name | None = None
    service_tier: Name | None = None
    metadata: JsonObject = msgspec.field(default_factory=no_field)
    user: Name | None = None
    safety_identifier: Name | None = None
    prompt_cache_key: Name | None = None
    prompt_cache_retention: Name | None = None
    chat_template_kwargs: JsonObject = msgspec.field(default_factory=no_field)
    background: bool | None = None
    conversation: JsonObject = msgspec.field(default_factory=no_field)
    prompt: JsonObject = msgspec.field(default_factory=no_field)
