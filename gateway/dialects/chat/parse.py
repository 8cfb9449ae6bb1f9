"""The OpenAI chat dialect on its way in: a body becomes a `Request`.

Unknown fields are accepted and ignored, because every runtime sends some. Known fields are checked, because a wrong value
would reach the engine as a different request from the one that was meant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.dialects.chat.image_parts import IMAGE_MARK
from gateway.dialects.chat.limits import (
    MAX_BIAS,
    MAX_BIASED_TOKENS,
    MAX_MESSAGES,
    MAX_METADATA_BYTES,
    MAX_MODEL,
    MAX_NAME,
    MAX_SCHEMA_BYTES,
    MAX_STOP_CHARACTERS,
    MAX_STOP_IDS,
    MAX_STOPS,
    MAX_TEMPLATE_BYTES,
    MAX_TOOL_BYTES,
    MAX_TOOLS,
    MAX_TOP_K,
    MOST,
    check_bytes,
)
from gateway.dialects.chat.messages import chat_message
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.messages import Item, MessageReader, Messages
from gateway.request.model_name import ALIAS
from gateway.request.request import Image, Request, ToolChoice
from gateway.turn.grammar import given_grammar
from gateway.turn.grammar_limits import SchemaLimits
from rollout.engine.generation import SamplingParameters

_AtLeastOne = Annotated[int, Meta(ge=1)]
_NotNegative = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
_Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
_Bias = Annotated[float, Meta(ge=-MAX_BIAS, le=MAX_BIAS)]
# An object that is read after its size is checked.
_NULL = msgspec.Raw(b"null")
_Object = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
_Objects = Annotated[
    msgspec.Raw, Meta(extra_json_schema={"type": "array", "items": {"type": "object"}})
]
_Name = Annotated[str, Meta(max_length=MAX_NAME)]
_Stop = Annotated[str, Meta(max_length=MAX_STOP_CHARACTERS)]


def _null() -> msgspec.Raw:
    return _NULL


class _JsonSchema(msgspec.Struct):
    schema: _Object = msgspec.field(default_factory=_null)


class _ResponseFormat(msgspec.Struct):
    type: str
    json_schema: _JsonSchema | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ChatBody(msgspec.Struct):
    messages: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, Meta(max_length=MAX_MODEL)] = ALIAS
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    seed: _Seed | None = None
    stop: _Stop | Annotated[list[_Stop], Meta(max_length=MAX_STOPS)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_tokens: _AtLeastOne | None = None
    max_completion_tokens: _AtLeastOne | None = None
    temperature: Annotated[float, Meta(ge=0.0, le=MOST)] | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=MAX_TOP_K)] | None = None
    min_p: _Probability | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0.0, le=MOST)] | None = None
    logit_bias: Annotated[dict[str, _Bias], Meta(max_length=MAX_BIASED_TOKENS)] | None = None
    min_tokens: _NotNegative | None = None
    stop_token_ids: Annotated[list[int], Meta(max_length=MAX_STOP_IDS)] | None = None
    ignore_eos: bool | None = None
    regex: str | None = None
    ebnf: str | None = None
    tools: _Objects = msgspec.field(default_factory=_null)
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: _Name | None = None
    chat_template_kwargs: _Object = msgspec.field(default_factory=_null)
    continue_final_message: bool | None = None
    return_token_ids: bool | None = None
    metadata: _Object = msgspec.field(default_factory=_null)
    session_id: str | None = None


_body_decoder = msgspec.json.Decoder(_ChatBody)
_message_decoder = msgspec.json.Decoder(dict[str, Any])
_tools_decoder = msgspec.json.Decoder(
    Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)] | None
)
_object_decoder = msgspec.json.Decoder(dict[str, Any] | None)


def read_chat_message(raw: msgspec.Raw, where: str) -> Item:
    """Read and check one message."""
    with _refusing(where):
        return Item([chat_message(_message_decoder.decode(raw), where)])


def parse_chat(body: bytes, reader: MessageReader) -> Request:
    """Read and check a chat completion's body."""
    with _refusing():
        if not body.isascii():
            body.decode()  # fields that are not read are not checked by the decoder
        chat = _body_decoder.decode(body)
    read = reader.read(chat.messages)
    tools = tuple(_tool(tool, f"tools[{i}]") for i, tool in enumerate(_tools(chat.tools)))
    return Request(
        model=chat.model,
        messages=read.messages,
        prints=read.prints,
        returned_ids=read.returned_ids,
        notes=read.notes,
        sampling=_sampling(chat),
        tools=tools,
        tool_choice=_tool_choice(chat.tool_choice, tools),
        parallel_tool_calls=chat.parallel_tool_calls is not False,
        num_outputs=chat.n or 1,
        stream=bool(chat.stream),
        include_usage=bool(chat.stream_options and chat.stream_options.include_usage),
        logprobs=bool(chat.logprobs),
        top_logprobs=(chat.top_logprobs or 0) if chat.logprobs else 0,
        return_token_ids=bool(chat.return_token_ids),
        template_kwargs=_template_kwargs(chat),
        continues_last_message=bool(chat.continue_final_message),
        named_episodes=_named_episodes(chat),
        images=_images(chat.messages, read.messages) if IMAGE_MARK in body else (),
    )


def _images(raws: list[msgspec.Raw], messages: Messages) -> tuple[Image, ...]:
    """The images of all messages; a message without one is not parsed for it."""
    contents = [
        messages[place].get("content") for place, raw in enumerate(raws) if IMAGE_MARK in bytes(raw)
    ]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return tuple(part["image"] for part in parts if part["type"] == "image")


@contextmanager
def _refusing(where: str = "") -> Iterator[None]:
    """Raise BadRequest for what cannot be decoded."""
    try:
        yield
    except msgspec.ValidationError as error:
        raise invalid_body(error, where) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply", code="invalid_json") from None


def invalid_body(error: msgspec.ValidationError, where: str = "") -> BadRequest:
    """Turn msgspec's message, which ends in the JSON path, into one with a `param`."""
    text, _, path = str(error).partition(" - at `$")
    param = where + path.rstrip("`").lstrip(".").removesuffix("[...]") or None
    return BadRequest(f"{param}: {text}" if param else text, param=param, code="invalid_value")


def _sampling(chat: _ChatBody) -> SamplingParameters:
    stop = (chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ())
    return SamplingParameters(
        max_tokens=chat.max_completion_tokens or chat.max_tokens,
        temperature=chat.temperature,
        top_p=chat.top_p,
        top_k=chat.top_k,
        min_p=chat.min_p,
        frequency_penalty=chat.frequency_penalty,
        presence_penalty=chat.presence_penalty,
        repetition_penalty=chat.repetition_penalty,
        logit_bias=chat.logit_bias or None,
        min_tokens=chat.min_tokens or None,
        stop=tuple(text for text in stop if text),
        stop_token_ids=tuple(chat.stop_token_ids or ()),
        ignore_eos=bool(chat.ignore_eos),
        seed=chat.seed,
        grammar=given_grammar(chat.regex, chat.ebnf, _schema_text(chat.response_format)),
    )


def _schema_text(response_format: _ResponseFormat | None) -> str | None:
    match response_format:
        case None | _ResponseFormat(type="text"):
            return None
        case _ResponseFormat(type="json_object"):
            return '{"type":"object"}'
        case _ResponseFormat(type="json_schema", json_schema=_JsonSchema(schema=raw)):
            schema = _object(raw, MAX_SCHEMA_BYTES, "response_format")
            text = json_text(schema, "response_format").decode()
            SchemaLimits().add(schema, "response_format")
            return text
    raise BadRequest(
        "response_format.type must be text, json_object or json_schema (with its json_schema)",
        param="response_format",
        code="invalid_value",
    )


def _object(raw: msgspec.Raw, max_bytes: int, where: str) -> dict[str, Any]:
    """A field that may hold anything: its size is checked before it is read."""
    if raw is _NULL:
        return {}
    check_bytes(raw, max_bytes, where)
    with _refusing(where):
        return _object_decoder.decode(raw) or {}


def _tools(raw: msgspec.Raw) -> list[dict[str, Any]]:
    if raw is _NULL:
        return []
    check_bytes(raw, MAX_TOOL_BYTES, "tools")
    with _refusing("tools"):
        return _tools_decoder.decode(raw) or []


def _tool(tool: dict[str, Any], where: str) -> dict[str, object]:
    function = tool.get("function")
    if tool.get("type", "function") != "function" or not isinstance(function, dict):
        raise BadRequest(
            f"{where}: only tools of type function are supported", param=where, code="invalid_value"
        )
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise BadRequest(f"{where}.function.name is missing", param=where, code="invalid_value")
    json_text(tool, where)
    return tool


def _tool_choice(
    choice: str | dict[str, Any] | None, tools: tuple[dict[str, object], ...]
) -> ToolChoice:
    if choice is None or choice == "auto":
        return ToolChoice()
    if choice == "none":
        return ToolChoice("none")
    names = [tool["function"]["name"] for tool in tools]  # type: ignore[index]
    if not names:
        raise BadRequest(
            "tool_choice needs tools; send some or leave it out",
            param="tool_choice",
            code="invalid_value",
        )
    if choice in ("required", "any"):
        return ToolChoice("required")
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        name = choice["function"].get("name")
        if name in names:
            return ToolChoice("required", name)
    raise BadRequest(
        "tool_choice must be none, auto, required or the function of one of the tools",
        param="tool_choice",
        code="invalid_value",
    )


def _template_kwargs(chat: _ChatBody) -> dict[str, object]:
    kwargs: dict[str, object] = _object(
        chat.chat_template_kwargs, MAX_TEMPLATE_BYTES, "chat_template_kwargs"
    )
    if chat.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", chat.reasoning_effort)
    json_text(kwargs, "chat_template_kwargs")
    return kwargs


def _named_episodes(chat: _ChatBody) -> tuple[str, ...]:
    metadata = _object(chat.metadata, MAX_METADATA_BYTES, "metadata")
    named = (metadata.get("episode_id"), metadata.get("session_id"), chat.session_id)
    return tuple(name for name in named if isinstance(name, str) and name)
