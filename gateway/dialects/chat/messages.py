"""Chat messages as clients send them, converted to the one form that templates and the trie's index read."""

from typing import Any

from gateway.dialects.chat.image_parts import image, is_image
from gateway.dialects.chat.limits import MAX_CALLS, MAX_PARTS
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.request import ChatMessage

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_SEEING_ROLES = ("user", "tool")


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
    content = raw.get("content")
    if isinstance(content, list):
        _check_length(content, MAX_PARTS, f"{where}.content")
    if isinstance(content, list) and any(map(is_image, content)):
        message: dict[str, object] = {
            "role": role,
            "content": _parts(content, role, f"{where}.content"),
        }
    else:
        message = {"role": role, "content": _text(content, f"{where}.content")}
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
    if calls:
        if not isinstance(calls, list):
            raise _wrong_call(f"{where}.tool_calls")
        _check_length(calls, MAX_CALLS, f"{where}.tool_calls")
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


def _check_length(items: list[Any], limit: int, where: str) -> None:
    if len(items) > limit:
        raise BadRequest(
            f"{where}: {len(items)} are more than the {limit} that are allowed",
            param=where,
            code="value_too_large",
        )


def _wrong_call(where: str) -> BadRequest:
    return BadRequest(
        f"{where} must hold function calls with a name", param=where, code="invalid_value"
    )


def _text(content: object, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_part_text(part, f"{where}[{i}]") for i, part in enumerate(content))
    raise BadRequest(
        f"{where} must be a string or a list of parts", param=where, code="invalid_value"
    )


def _parts(content: list[Any], role: str, where: str) -> list[dict[str, object]]:
    if role not in _SEEING_ROLES:
        raise BadRequest(
            f"{where}: only messages of {' and '.join(_SEEING_ROLES)} may hold images",
            param=where,
            code="unsupported_content",
        )
    return [_part(part, f"{where}[{i}]") for i, part in enumerate(content)]


def _part(part: Any, where: str) -> dict[str, object]:
    if is_image(part):
        return {"type": "image", "image": image(part, where)}
    return {"type": "text", "text": _part_text(part, where)}


def _part_text(part: object, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        if part.get("type", "text") in _TEXT_PARTS and isinstance(part.get("text"), str):
            return str(part["text"])
        if part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
            return str(part["refusal"])
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise BadRequest(
        f"{where}: content parts of type {kind} are not supported, only text",
        param=where,
        code="unsupported_content",
    )
