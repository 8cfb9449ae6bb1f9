"""The OpenAI chat dialect on its way in: a body becomes a `Request`.

Unknown fields are accepted and ignored, because every runtime sends some. Known fields are checked, because a wrong value
would reach the engine as a different request from the one that was meant.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.dialects.bodies.answer_schema import ANY_OBJECT, schema_text
from gateway.dialects.bodies.fields import NULL, read_body, read_object
from gateway.dialects.bodies.limits import MAX_METADATA_BYTES, MAX_SCHEMA_BYTES, MAX_TEMPLATE_BYTES
from gateway.dialects.bodies.names import names_in
from gateway.dialects.bodies.sampling import sampling_of
from gateway.dialects.bodies.tools import ToolReader, forced_choice, wrong_choice
from gateway.dialects.chat.body import ChatBody, JsonSchema, ResponseFormat
from gateway.dialects.chat.echo import ChatEcho
from gateway.dialects.chat.functions import calls_functions, choice_of, read_functions
from gateway.errors import BadRequest
from gateway.request.body_digest import body_digest
from gateway.request.json_text import json_text
from gateway.request.messages import MessageReader
from gateway.request.request import Request, ToolChoice
from gateway.request.tools import Tools

_body_decoder = msgspec.json.Decoder(ChatBody)


def parse_chat(body: bytes, reader: MessageReader, tool_reader: ToolReader[Tools]) -> Request:
    """Read and check a chat completion's body."""
    chat = read_body(body, _body_decoder)
    read = reader.read(chat.messages)
    metadata = read_object(chat.metadata, MAX_METADATA_BYTES, "metadata")
    names = names_in(metadata, chat.session_id)
    is_older = calls_functions(chat)
    tools = (
        checked_tools(read_functions(chat), "functions")
        if is_older
        else tool_reader.read(chat.tools)
    )
    choice = choice_of(chat.function_call) if is_older else chat.tool_choice
    return Request(
        model=chat.model,
        messages=read.messages,
        prints=read.prints,
        sampling=sampling_of(
            chat,
            max_tokens=chat.max_completion_tokens or chat.max_tokens,
            schema=_schema_text(chat.response_format),
        ),
        tools=tools,
        tool_choice=_tool_choice(choice, tools),
        parallel_tool_calls=not is_older and chat.parallel_tool_calls is not False,
        num_outputs=chat.n or 1,
        stream=bool(chat.stream),
        include_usage=chat.asks_for_usage,
        counts_always=chat.asks_for_all_usage,
        echo=ChatEcho(is_older),
        logprobs=bool(chat.logprobs),
        top_logprobs=(chat.top_logprobs or 0) if chat.logprobs else 0,
        return_token_ids=bool(chat.return_token_ids),
        template_kwargs=_template_kwargs(chat),
        continues_last_message=bool(chat.continue_final_message),
        named_episodes=names.episodes,
        session=names.session,
        cache_key=chat.prompt_cache_key,
        returned_ids=read.returned_ids,
        notes=read.notes,
        images=read.images,
        body_digest=body_digest(body, chat.messages, read.digest),
    )


def _schema_text(response_format: ResponseFormat | None) -> str | None:
    match response_format:
        case None | ResponseFormat(type="text"):
            return None
        case ResponseFormat(type="json_object"):
            return ANY_OBJECT
        case ResponseFormat(type="json_schema", json_schema=JsonSchema(schema=raw)):
            return schema_text(
                read_object(raw, MAX_SCHEMA_BYTES, "response_format"), "response_format"
            )
    raise BadRequest(
        "response_format.type must be text, json_object or json_schema (with its json_schema)",
        param="response_format",
        code="invalid_value",
    )


def checked_tools(given: Sequence[dict[str, Any]], field: str = "tools") -> Tools:
    """Raises BadRequest for one that is no function."""
    return Tools(_tool(tool, f"{field}[{i}]") for i, tool in enumerate(given))


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


def _tool_choice(choice: str | dict[str, Any] | None, tools: Tools) -> ToolChoice:
    if choice is None or choice == "auto":
        return ToolChoice()
    if choice == "none":
        return ToolChoice("none")
    if choice in ("required", "any"):
        return forced_choice(tools)
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return forced_choice(tools, choice["function"].get("name") or "")
    forced_choice(tools)  # names the missing tools first
    raise wrong_choice()


def _template_kwargs(chat: ChatBody) -> dict[str, object]:
    if chat.chat_template_kwargs is NULL and chat.reasoning_effort is None:
        return {}
    kwargs: dict[str, object] = read_object(
        chat.chat_template_kwargs, MAX_TEMPLATE_BYTES, "chat_template_kwargs"
    )
    if chat.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", chat.reasoning_effort)
    json_text(kwargs, "chat_template_kwargs")
    return kwargs
