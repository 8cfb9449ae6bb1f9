"""Chat messages as clients send them, converted to the one form that templates and the trie's index read."""

from typing import Any

import msgspec

from gateway.dialects.bodies.content import read_content
from gateway.dialects.bodies.fields import check_length, read_message
from gateway.dialects.bodies.images import openai_image
from gateway.dialects.bodies.limits import MAX_CALLS
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.messages import Item
from gateway.request.request import ChatMessage

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def read_chat_message(raw: msgspec.Raw, where: str) -> Item:
    """Read and check one message."""
    return Item([chat_message(read_message(raw, where), where)])


def chat_message(raw: dict[str, Any], where: str) -> ChatMessage:
    """Convert one message: to a role that templates know, and to the fields that they read."""
    given = raw.get("role")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise BadRequest(
            f"{where}.role must be one of {', '.join(_ROLES)}",
            param=f"{where}.role",
            code="invalid_value",
        )
    content = read_content(raw.get("content"), role, f"{where}.content", read_image=openai_image)
    message: dict[str, object] = {"role": role, "content": content}
    if role == "assistant":
        _add_assistant_fields(message, raw, where)
    elif role == "tool" and isinstance(raw.get("tool_call_id"), str):
        message["tool_call_id"] = raw["tool_call_id"]
    if isinstance(raw.get("name"), str):
        message["name"] = raw["name"]
    return message


def _add_assistant_fields(message: dict[str, object], raw: dict[str, Any], where: str) -> None:
    reasoning = raw.get("reasoning_content") or raw.get("reasoning")
    if isinstance(reasoning, str):
        message["reasoning_content"] = reasoning
    calls = raw.get("tool_calls")
    if not calls and raw.get("function_call"):
        older = {"function": raw["function_call"]}
        message["tool_calls"] = [_tool_call(older, f"{where}.function_call")]
    if calls:
        if not isinstance(calls, list):
            raise _wrong_call(f"{where}.tool_calls")
        check_length(calls, MAX_CALLS, f"{where}.tool_calls")
        message["tool_calls"] = [
            _tool_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls)
        ]


def _tool_call(call: object, where: str) -> dict[str, object]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _wrong_call(where)
    id_ = call.get("id") if isinstance(call, dict) else None
    arguments = function.get("arguments")
    if not isinstance(arguments, str | None):
        json_text(arguments, f"{where}.function.arguments")
    return {
        "id": id_ if isinstance(id_, str) else "",
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _wrong_call(where: str) -> BadRequest:
    return BadRequest(
        f"{where} must hold function calls with a name", param=where, code="invalid_value"
    )
