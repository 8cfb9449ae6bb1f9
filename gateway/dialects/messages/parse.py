"""Anthropic Messages on its way in: a body becomes a `Request`."""

import re
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.dialects.bodies.answer_schema import schema_text
from gateway.dialects.bodies.fields import read_body, read_object
from gateway.dialects.bodies.limits import MAX_METADATA_BYTES, MAX_SCHEMA_BYTES
from gateway.dialects.bodies.names import names_in
from gateway.dialects.bodies.tools import ToolReader
from gateway.dialects.messages.blocks import text_of
from gateway.dialects.messages.body import MessagesBody, OutputFormat, PromptBody, Thinking
from gateway.dialects.messages.tools import CustomTools, tool_choice
from gateway.errors import BadRequest
from gateway.request.body_digest import body_digest
from gateway.request.conversation_hash import print_of
from gateway.request.messages import MessageReader, Messages
from gateway.request.request import ChatMessage, Request, ToolChoice
from gateway.turn.grammar import given_grammar
from rollout.engine.generation import SamplingParameters

_body_decoder = msgspec.json.Decoder(MessagesBody)
_prompt_decoder = msgspec.json.Decoder(PromptBody)

# Claude Code's first system block is a header for Anthropic's servers that differs in each call.
_SERVER_HEADER = re.compile(r"\s*x-anthropic-[a-z-]+:")
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def parse_messages(body: bytes, reader: MessageReader, tools: ToolReader[CustomTools]) -> Request:
    """Read and check the body of a call that samples."""
    given = read_body(body, _body_decoder)
    return replace(
        _request(body, given, reader, tools),
        sampling=_sampling(given),
        stream=bool(given.stream),
    )


def parse_prompt(body: bytes, reader: MessageReader, tools: ToolReader[CustomTools]) -> Request:
    """Read and check a body whose prompt is counted."""
    return _request(body, read_body(body, _prompt_decoder), reader, tools)


def _request(
    body: bytes, given: PromptBody, reader: MessageReader, tool_reader: ToolReader[CustomTools]
) -> Request:
    read = reader.read(given.messages)
    system, notes = _system(given.system)
    tools, left_out = tool_reader.read(given.tools)
    choice = given.tool_choice or {}
    names = names_in(read_object(given.metadata, MAX_METADATA_BYTES, "metadata"))
    return Request(
        model=given.model,
        messages=_after(system, read.messages),
        prints=[*map(print_of, system), *read.prints],
        sampling=SamplingParameters(),
        tools=tools,
        tool_choice=tool_choice(given.tool_choice, tools)
        if tools or not left_out
        else ToolChoice(),
        parallel_tool_calls=choice.get("disable_parallel_tool_use") is not True,
        template_kwargs=_template_kwargs(given),
        continues_last_message=_is_prefill(read.messages),
        named_episodes=names.episodes,
        session=names.session,
        returned_ids=read.returned_ids,
        notes=(*notes, *left_out, *read.notes),
        echo=_shows_thinking(given.thinking),
        images=read.images,
        body_digest=body_digest(body, given.messages, read.digest),
    )


def _sampling(given: MessagesBody) -> SamplingParameters:
    return SamplingParameters(
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        top_k=given.top_k,
        stop=tuple(text for text in given.stop_sequences or () if text),
        grammar=given_grammar(None, None, _schema(given)),
    )


def _system(given: str | list[dict[str, Any]] | None) -> tuple[list[ChatMessage], tuple[str, ...]]:
    """The system message, if there is one, without headers that are meant for Anthropic's servers."""
    blocks = [{"type": "text", "text": given}] if isinstance(given, str) else given or []
    own = [block for block in blocks if not _SERVER_HEADER.match(str(block.get("text")))]
    notes = ("system block x-anthropic-… left out",) if len(own) < len(blocks) else ()
    text = text_of(own, "system")
    return [{"role": "system", "content": text}] if text else [], notes


def _after(system: list[ChatMessage], messages: Messages) -> Messages:
    if not system:
        return messages
    return Messages(
        len(messages) + 1,
        lambda place: messages[place - 1] if place else system[0],
        ["system", *messages.roles()],
    )


def _is_prefill(messages: Messages) -> bool:
    """The last message is the beginning of the reply, unless it is a call that waits for its result."""
    last = messages[-1]
    return last["role"] == "assistant" and "tool_calls" not in last


def _schema(given: PromptBody) -> str | None:
    config = given.output_config
    where = "output_config.format" if config and config.format else "output_format"
    asked = (config and config.format) or given.output_format
    match asked:
        case None | OutputFormat(type="text"):
            return None
        case OutputFormat(type="json_schema", schema=raw):
            return schema_text(read_object(raw, MAX_SCHEMA_BYTES, where), where)
    raise BadRequest(f"{where}.type must be json_schema", param=where, code="invalid_value")


def _template_kwargs(given: PromptBody) -> dict[str, object]:
    """Templates name the switch for thinking in one of two ways; without a word the template decides."""
    kwargs: dict[str, object] = {}
    if given.thinking is not None and given.thinking.type in ("enabled", "disabled"):
        is_on = given.thinking.type == "enabled"
        kwargs = {"enable_thinking": is_on, "thinking": is_on}
    effort = given.output_config.effort if given.output_config else None
    if effort is not None:
        if effort not in _EFFORTS:
            raise BadRequest(
                f"output_config.effort must be one of {', '.join(_EFFORTS)}",
                param="output_config.effort",
                code="invalid_value",
            )
        kwargs["reasoning_effort"] = _EFFORTS[effort]
    return kwargs


def _shows_thinking(thinking: Thinking | None) -> bool:
    return thinking is None or thinking.display != "omitted"
