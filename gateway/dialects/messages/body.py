"""The body of a call in Anthropic's format: the fields that have an effect, each with the values it may have."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.bodies.bounds import AtLeastOne, Stop, Temperature, TopK, TopP
from gateway.dialects.bodies.fields import JsonObject, JsonObjects, no_field
from gateway.dialects.bodies.limits import MAX_MESSAGES, MAX_MODEL, MAX_STOPS
from gateway.request.model_name import ALIAS


class Thinking(msgspec.Struct):
    type: str
    display: str | None = None


class OutputFormat(msgspec.Struct):
    type: str
    schema: JsonObject = msgspec.field(default_factory=no_field)


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: OutputFormat | None = None


class PromptBody(msgspec.Struct):
    """What the prompt is made of."""

    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, Meta(max_length=MAX_MODEL)] = ALIAS
    system: str | list[dict[str, Any]] | None = None
    tools: JsonObjects = msgspec.field(default_factory=no_field)
    tool_choice: dict[str, Any] | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None  # the older place of `output_config.format`
    metadata: JsonObject = msgspec.field(default_factory=no_field)


class MessagesBody(PromptBody, kw_only=True):
    max_tokens: AtLeastOne
    stream: bool | None = None
    stop_sequences: Annotated[list[Stop], Meta(max_length=MAX_STOPS)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
