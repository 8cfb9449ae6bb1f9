"""OpenAI messages as templates want them, and nowhere else: arguments parsed, contents as text, no nulls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from rollout.rendering import TemplateError

Message = Mapping[str, Any]
Tool = Mapping[str, Any]

MAX_NESTING = 200  # levels; orjson writes 254, with those around the arguments
LONG_NUMBER = re.compile(r"\d{18}")


def for_template(message: Message, *, knows_developer: bool) -> dict[str, Any]:
    """One message as Hugging Face's templates expect it; the message itself is left as it is."""
    plain = {name: value for name, value in message.items() if value is not None}
    if plain.get("role") == "developer" and not knows_developer:
        plain["role"] = "system"
    plain["content"] = _text(plain.get("content"))
    if reasoning := plain.pop("reasoning", None):
        plain.setdefault("reasoning_content", reasoning)
    if calls := plain.pop("tool_calls", None):
        plain["tool_calls"] = [_with_parsed_arguments(call) for call in calls]
    return plain


def reasoning_of(message: Message) -> str:
    """The reasoning an assistant message carries, in its own field or inside its content."""
    if reasoning := message.get("reasoning_content"):
        return str(reasoning).strip()
    before, closed, _ = message["content"].partition("</think>")
    return before.replace("<think>", "").strip() if closed else ""


def _text(content: Any) -> str:
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


def _with_parsed_arguments(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, Mapping):
        return dict(call)
    arguments = _parsed(function.get("arguments"))
    return {**call, "function": {**function, "arguments": arguments}}


def _parsed(arguments: Any) -> Any:
    """A JSON object as a mapping; what a model got wrong stays the text it wrote."""
    parsed = parsed_arguments(arguments)
    return arguments if isinstance(arguments, str) and not isinstance(parsed, dict) else parsed


def parsed_arguments(arguments: object) -> object:
    """Arguments travel as JSON text; what is no JSON, or too deep to be written again, stays text."""
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        parsed = orjson.loads(arguments)
        if LONG_NUMBER.search(arguments):
            parsed = json.loads(arguments)  # orjson rounds what is longer than 64 bits
    except (ValueError, RecursionError):
        return arguments
    is_short = arguments.count("{") + arguments.count("[") <= MAX_NESTING
    return parsed if is_short or _depth(parsed) <= MAX_NESTING else arguments


def _depth(value: object) -> int:
    level, depth = [value], 0
    while level := [inner for each in level for inner in _items(each)]:
        depth += 1
    return depth


def _items(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()
