"""The Responses dialect on its way in: a body becomes a `Request`.

Unknown fields are accepted and ignored. A known field has its effect, or is refused, or is shown in the reply as what is in
effect instead.
"""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.dialects.bodies.answer_schema import ANY_OBJECT, schema_text
from gateway.dialects.bodies.fields import read_body, read_object
from gateway.dialects.bodies.limits import MAX_METADATA_BYTES, MAX_TEMPLATE_BYTES
from gateway.dialects.bodies.names import names_in
from gateway.dialects.bodies.tools import ToolReader
from gateway.dialects.responses.asked import Asked, shown_fields
from gateway.dialects.responses.body import ResponsesBody, Text
from gateway.dialects.responses.grouping import grouped
from gateway.dialects.responses.namespaces import MARK as NAMESPACE
from gateway.dialects.responses.namespaces import with_known_names
from gateway.dialects.responses.references import MARK, filled_in, references, referred_turns
from gateway.dialects.responses.tool_choice import read_choice
from gateway.dialects.responses.tools import ReadTools
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.messages import MessageReader, ReadMessages
from gateway.request.request import ReplyChoice, Request, ToolChoice
from gateway.turn.grammar import given_grammar
from rollout.engine.generation import SamplingParameters

_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"
_decoder = msgspec.json.Decoder(ResponsesBody)


def parse_responses(
    body: bytes, reader: MessageReader, tool_reader: ToolReader[ReadTools]
) -> Request:
    """Read and check the body of a call."""
    asked = read_body(body, _decoder)
    _refuse_what_is_not_served(asked)
    items = _items(asked)
    turns = referred_turns(items) if MARK in body else ()
    choice, tools = read_choice(asked.tool_choice, tool_reader.read(asked.tools))

    def read(items: Sequence[msgspec.Raw]) -> Request:
        named = with_known_names(items, tools.known) if NAMESPACE in body else items
        return _request(asked, _read(asked, named, reader), choice, tools)

    request = read(items)
    if not turns:
        return request

    def complete(replies: Mapping[str, ReplyChoice]) -> Request:
        return read(filled_in(items, replies, tools=tools.known))

    return msgspec.structs.replace(request, refers_to=turns, complete=complete)


def _request(
    asked: ResponsesBody, read: ReadMessages, choice: ToolChoice, tools: ReadTools
) -> Request:
    metadata = read_object(asked.metadata, MAX_METADATA_BYTES, "metadata")
    names = names_in(metadata)
    shows_logprobs = _LOGPROBS in (asked.include or ()) or bool(asked.top_logprobs)
    return Request(
        model=asked.model,
        messages=read.messages,
        prints=read.prints,
        images=read.images,
        num_instructions=bool(asked.instructions),
        keeps_messages=asked.store is not False,
        returned_ids=_returned_ids(asked, read),
        previous_reply=asked.previous_response_id,
        cache_key=asked.prompt_cache_key,
        notes=(*read.notes, *tools.notes, *_notes(asked)),
        sampling=_sampling(asked),
        tools=tools.functions,
        tool_choice=choice,
        parallel_tool_calls=asked.parallel_tool_calls is not False,
        stream=bool(asked.stream),
        logprobs=shows_logprobs,
        top_logprobs=asked.top_logprobs or 0,
        template_kwargs=_template_kwargs(asked),
        named_episodes=names.episodes,
        session=names.session,
        echo=Asked(
            shown=shown_fields(asked, tools.shown, metadata),
            tools=tools.known,
            summarizes=bool(asked.reasoning and asked.reasoning.summary),
            names_reasoning=_ENCRYPTED in (asked.include or ()),
            shows_logprobs=shows_logprobs,
        ),
    )


def _refuse_what_is_not_served(asked: ResponsesBody) -> None:
    instead = {
        "background": ("run in the background", "wait for the reply, or stream it"),
        "conversation": ("kept as conversations", "send previous_response_id or the whole input"),
        "prompt": ("made of stored prompts", "send instructions and input"),
    }
    given = {
        "background": bool(asked.background),
        "conversation": bytes(asked.conversation) != b"null",
        "prompt": bytes(asked.prompt) != b"null",
    }
    for name, is_given in given.items():
        if is_given:
            what, remedy = instead[name]
            raise BadRequest(
                f"{name}: responses are not {what} here; {remedy}",
                param=name,
                code="unsupported_value",
            )


def _items(asked: ResponsesBody) -> list[msgspec.Raw]:
    if asked.input is None and asked.previous_response_id is None:
        raise BadRequest("input is missing", param="input", code="missing_required_parameter")
    if isinstance(asked.input, str):
        return [_raw("user", asked.input)]
    return list(asked.input or ())


def _read(
    asked: ResponsesBody, items: Sequence[msgspec.Raw], reader: MessageReader
) -> ReadMessages:
    """The messages of instructions and items."""
    groups = grouped(items)
    raws = [_joined([items[place] for place in places]) for places in groups]
    wheres = [" ".join(f"input[{place}]" for place in places) for places in groups]
    if asked.instructions:
        raws.insert(0, _raw("system", asked.instructions))
        wheres.insert(0, "instructions")
    read = reader.read(raws, wheres.__getitem__)
    if not (read.prints or asked.previous_response_id or references(items)):
        raise BadRequest("input holds no message", param="input", code="invalid_value")
    return read


def _raw(role: str, content: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"role": role, "content": content}))


def _joined(items: Sequence[msgspec.Raw]) -> msgspec.Raw:
    """One item as it is, several as a list."""
    if len(items) == 1:
        return items[0]
    return msgspec.Raw(b"[" + b",".join(map(bytes, items)) + b"]")


def _returned_ids(asked: ResponsesBody, read: ReadMessages) -> tuple[str, ...]:
    previous = asked.previous_response_id
    return (previous, *read.returned_ids) if previous else read.returned_ids


def _sampling(asked: ResponsesBody) -> SamplingParameters:
    return SamplingParameters(
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        grammar=given_grammar(None, None, _schema_text(asked.text)),
    )


def _schema_text(text: Text | None) -> str | None:
    match text.format if text else None:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return ANY_OBJECT
        case {"type": "json_schema", "schema": dict(schema)}:
            return schema_text(schema, "text.format")
    raise BadRequest(
        "text.format.type must be text, json_object or json_schema (with its schema)",
        param="text.format",
        code="invalid_value",
    )


def _template_kwargs(asked: ResponsesBody) -> dict[str, object]:
    kwargs: dict[str, object] = read_object(
        asked.chat_template_kwargs, MAX_TEMPLATE_BYTES, "chat_template_kwargs"
    )
    if asked.reasoning and asked.reasoning.effort is not None:
        kwargs.setdefault("reasoning_effort", asked.reasoning.effort)
        if asked.reasoning.effort == "none":
            kwargs = {"enable_thinking": False, "thinking": False} | kwargs
    json_text(kwargs, "chat_template_kwargs")
    return kwargs


def _notes(asked: ResponsesBody) -> Sequence[str]:
    if asked.truncation == "auto":
        return ("truncation auto is read as disabled",)
    return ()
