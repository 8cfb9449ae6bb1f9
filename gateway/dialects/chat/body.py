"""The body of a chat completion: the fields that have an effect, each with the values it may have."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.bounds import AtLeastOne, Name, TopLogprobs
from gateway.dialects.bodies.fields import JsonObject, JsonObjects, no_field
from gateway.dialects.bodies.limits import MAX_MESSAGES
from gateway.dialects.bodies.sampling import SamplingBody


class JsonSchema(msgspec.Struct):
    schema: JsonObject = msgspec.field(default_factory=no_field)


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None


class ChatBody(SamplingBody, kw_only=True):
    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_MESSAGES)]
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    max_completion_tokens: AtLeastOne | None = None
    tools: JsonObjects = msgspec.field(default_factory=no_field)
    tool_choice: str | dict[str, Any] | None = None
    functions: JsonObjects = msgspec.field(default_factory=no_field)
    function_call: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Name | None = None
    chat_template_kwargs: JsonObject = msgspec.field(default_factory=no_field)
    continue_final_message: bool | None = None
    prompt_cache_key: str | None = None
