"""Reads OpenAI's messages: contents as text, reasoning, arguments as values."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from rollout.chat_template.rendering import TemplateError
from rollout.json_escapes import whole_characters

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

MAX_NESTING = 200  # levels; orjson writes at most 254, those around the arguments included
LONG_NUMBER = re.compile(r"\d{18}")


class KnowsRoles(ABC):
    """A list of messages that tells their roles without reading them."""

    @abstractmethod
    def roles(self) -> list[str]: ...


def roles_of(messages: Sequence[Message]) -> list[str]:
    if isinstance(messages, KnowsRoles):
        return messages.roles()
    return [str(message["role"]) for message in messages]


def reasoning_of(message: Message) -> str:
    """The reasoning of an assistant message, from its own field or from its content."""
    if reasoning := message.get("reasoning_content"):
        return str(reasoning).strip()
    before, closed, _ = (message["content"] or "").partition("</think>")
    return before.replace("<think>", "").strip() if closed else ""


def parts_of(content: Any) -> str | list[dict[str, str]]:
    """A message's texts and images in order, or its text if it has no image."""
    if not isinstance(content, list) or not any(map(_is_image, content)):
        return text_of(content)
    return [
        {"type": "image"} if _is_image(part) else {"type": "text", "text": _part_text(part)}
        for part in content
    ]


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "image"


def text_of(content: Any) -> str:
    """A message's content, which may be null or come in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(map(_part_text, content))
    raise TemplateError(
        f"content must be a string or a list of parts, not {type(content).__name__}"
    )


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    for name in ("text", "refusal"):
        if isinstance(part, Mapping) and isinstance(part.get(name), str):
            return str(part[name])
    raise TemplateError("this model reads text only; send content parts of type text")


def parsed_arguments(arguments: object) -> object:
    """The value of arguments in JSON; text that is no JSON, or too deep to be written again, stays text."""
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        parsed = _parsed(arguments)
    except (ValueError, RecursionError):
        return arguments
    is_short = arguments.count("{") + arguments.count("[") <= MAX_NESTING
    return parsed if is_short or _depth(parsed) <= MAX_NESTING else arguments


def _parsed(text: str) -> object:
    whole = whole_characters(text) if "\\u" in text else text
    if LONG_NUMBER.search(whole):
        return json.loads(whole)  # orjson rounds what is longer than 64 bits
    return orjson.loads(whole)


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level := [inner for each in level for inner in _items(each)]:
        depth += 1
    return depth


def _items(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()
