"""The body of a chat completion: the fields that have an effect, each with the values it may have."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.bounds import (
    AtLeastOne,
    Bias,
    Name,
    NotNegative,
    Penalty,
    Probability,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopLogprobs,
    TopP,
)
from gateway.dialects.bodies.fields import JsonObject, JsonObjects, no_field
from gateway.dialects.bodies.limits import (
    MAX_BIASED_TOKENS,
    MAX_MESSAGES,
    MAX_MODEL,
    MAX_STOP_IDS,
    MAX_STOPS,
    MOST,
)
from gateway.request.model_name import ALIAS


class JsonSchema(msgspec.Struct):
    schema: JsonObject = msgspec.field(default_factory=no_field)


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ChatBody(msgspec.Struct):
    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, Meta(max_length=MAX_MODEL)] = ALIAS
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], Meta(max_length=MAX_STOPS)] | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    max_tokens: AtLeastOne | None = None
    max_completion_tokens: AtLeastOne | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: Probability | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=MOST)] | None = None
    logit_bias: Annotated[dict[str, Bias], Meta(max_length=MAX_BIASED_TOKENS)] | None = None
    min_tokens: NotNegative | None = None
    stop_token_ids: Annotated[list[int], Meta(max_length=MAX_STOP_IDS)] | None = None
    ignore_eos: bool | None = None
    regex: str | None = None
    ebnf: str | None = None
    tools: JsonObjects = msgspec.field(default_factory=no_field)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Name | None = None
    chat_template_kwargs: JsonObject = msgspec.field(default_factory=no_field)
    continue_final_message: bool | None = None
    return_token_ids: bool | None = None
    metadata: JsonObject = msgspec.field(default_factory=no_field)
    session_id: str | None = None
    prompt_cache_key: str | None = None
