"""Input items as messages: those of the model become one assistant message, every other a message of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.dialects.bodies.content import read_content
from gateway.dialects.bodies.fields import read_value
from gateway.dialects.bodies.images import openai_image
from gateway.dialects.responses.tools import INPUT
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.messages import Item
from gateway.request.request import ChatMessage

_ROLES = {"user": "user", "system": "system", "developer": "system"}
_ACTIONS = {"local_shell_call": "action", "shell_call": "action", "apply_patch_call": "operation"}


def read_items(raw: msgspec.Raw, where: str) -> Item:
    """Read what `grouped` puts together: one item, or a list of items of the model; `where` names each of them."""
    wheres = where.split()
    value = read_value(raw, wheres[0])
    items: list[Mapping[str, Any]] = []
    for item, place in zip(value if isinstance(value, list) else [value], wheres, strict=False):
        if not isinstance(item, dict):
            raise _wrong(f"{place} must be an object", place)
        items.append(item)
    if not items:
        raise _wrong(f"{wheres[0]} must be an object", wheres[0])
    return _of_the_model(items, wheres) or _other(items[0], wheres[0])


def _other(item: Mapping[str, Any], where: str) -> Item:
    kind = _kind(item)
    if kind == "message":
        return Item([_message(item, where)])
    if kind.endswith("_output") and isinstance(item.get("call_id", item.get("id")), str):
        return Item([_result(item, where)])
    return Item([], notes=[f"an input item of type {kind[:64]} is left out"])


def _kind(item: Mapping[str, Any]) -> str:
    given = item.get("type")
    if given is None:
        return "message" if "role" in item else "item_reference"
    return str(given)


def _message(item: Mapping[str, Any], where: str) -> ChatMessage:
    given = item.get("role")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        names = ", ".join((*_ROLES, "assistant"))
        raise _wrong(f"{where}.role must be one of {names}", f"{where}.role")
    content = read_content(item.get("content"), role, f"{where}.content", read_image=openai_image)
    return {"role": role, "content": content}


def _result(item: Mapping[str, Any], where: str) -> ChatMessage:
    output = item.get("output")
    place = f"{where}.output"
    if isinstance(output, str | None):
        content: object = output or ""
    elif _is_content(output):
        content = read_content(output, "tool", place, read_image=openai_image)
    else:
        content = json_text(output, place).decode()
    call_id = item.get("call_id", item.get("id"))
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def _is_content(output: object) -> bool:
    """Whether a result is a list of content parts; a shell's output is a list of other objects."""
    return isinstance(output, list) and all(
        isinstance(part, str) or (isinstance(part, dict) and "type" in part) for part in output
    )


class _AssistantMessage:
    """An assistant message as its items add to it."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[dict[str, object]] = []
        self.ids: list[str] = []
        self.notes: list[str] = []

    def add(self, item: Mapping[str, Any], where: str) -> None:
        self._note_ids(item)
        match _kind(item):
            case "message":
                self._texts.append(_assistant_text(item, where))
            case "reasoning":
                self._reasoning.append(_reasoning_text(item))
            case "function_call":
                self._add_call(item, item.get("arguments"), where)
            case "custom_tool_call":
                given = json_text({INPUT: item.get("input") or ""}, f"{where}.input")
                self._add_call(item, given.decode(), where)
            case kind if kind in _ACTIONS:
                action = json_text(item.get(_ACTIONS[kind]), where).decode()
                self._add_call({"name": kind.removesuffix("_call")} | dict(item), action, where)
            case kind:
                self.notes.append(f"an input item of type {kind[:64]} is left out")

    @property
    def is_empty(self) -> bool:
        return not (self._texts or self._reasoning or self._calls)

    def message(self) -> ChatMessage:
        message: dict[str, object] = {"role": "assistant", "content": "".join(self._texts)}
        if reasoning := "\n".join(filter(None, self._reasoning)):
            message["reasoning_content"] = reasoning
        if self._calls:
            message["tool_calls"] = self._calls
        return message

    def _add_call(self, item: Mapping[str, Any], arguments: object, where: str) -> None:
        name, call_id = item.get("name"), item.get("call_id")
        if not isinstance(name, str) or not name:
            raise _wrong(f"{where}.name is missing", f"{where}.name")
        if not isinstance(arguments, str | None):
            json_text(arguments, f"{where}.arguments")
        self._calls.append(
            {
                "id": call_id if isinstance(call_id, str) else "",
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        )

    def _note_ids(self, item: Mapping[str, Any]) -> None:
        given = (item.get("id"), item.get("encrypted_content"))
        self.ids += [id_ for id_ in given if isinstance(id_, str) and id_]


def _of_the_model(items: Sequence[Mapping[str, Any]], wheres: Sequence[str]) -> Item | None:
    """The assistant message of these items; None if they are not the model's."""
    first = items[0]
    if len(items) == 1 and not (
        first.get("role") == "assistant"
        or _kind(first) in ("reasoning", "item_reference")
        or _kind(first).endswith("_call")
    ):
        return None
    message = _AssistantMessage()
    for item, where in zip(items, wheres, strict=True):
        message.add(item, where)
    made = [] if message.is_empty else [message.message()]
    return Item(made, message.ids, message.notes)


def _assistant_text(item: Mapping[str, Any], where: str) -> str:
    content = item.get("content")
    read = read_content(content, "assistant", f"{where}.content", read_image=openai_image)
    assert isinstance(read, str), "an assistant's message holds no images"
    return read


def _reasoning_text(item: Mapping[str, Any]) -> str:
    """The reasoning itself, or else its summary, which here is the same text."""
    for field in ("content", "summary"):
        parts = item.get(field)
        texts = [
            part["text"]
            for part in (parts if isinstance(parts, list) else ())
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        ]
        if any(texts):
            return "\n".join(texts)
    return ""


def _wrong(message: str, param: str) -> BadRequest:
    return BadRequest(message, param=param, code="invalid_value")
