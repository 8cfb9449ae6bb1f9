"""What becomes of a reply on its way through a client and back."""

import json
import random
from collections import Counter
from typing import Any

Message = dict[str, Any]


def echoed(message: Message, rng: random.Random, did: Counter[str]) -> Message:
    """The reply as one client or another would send it, changed in no way that matters or in some that do not."""
    back = {name: value for name, value in message.items() if value is not None}
    for name, change, chance in CHANGES:
        if rng.random() < chance and (changed := change(back, rng)) is not None:
            back = changed
            did[name] += 1
    return back


def _without_reasoning(message: Message, rng: random.Random) -> Message | None:
    if "reasoning_content" not in message:
        return None
    return {k: v for k, v in message.items() if k not in ("reasoning", "reasoning_content")}


def _trimmed(message: Message, rng: random.Random) -> Message | None:
    content = message.get("content") or ""
    return {**message, "content": content.strip()} if content != content.strip() else None


def _spelt_anew(message: Message, rng: random.Random) -> Message | None:
    """Arguments parsed and written again, keys in another order, ids made anew."""
    if not message.get("tool_calls"):
        return None
    return {**message, "tool_calls": [_call(call, rng) for call in message["tool_calls"]]}


def _call(call: Message, rng: random.Random) -> Message:
    function = dict(call["function"])
    try:
        arguments = json.loads(function["arguments"])
    except ValueError:
        return call
    items = sorted(arguments.items(), reverse=True)
    function["arguments"] = json.dumps(dict(items), indent=rng.choice((None, 3)))
    return {"id": f"own_{rng.randrange(10**6)}", "type": "function", "function": function}


def _as_parts(message: Message, rng: random.Random) -> Message | None:
    if not message.get("content"):
        return None
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def _empty_as_null(message: Message, rng: random.Random) -> Message | None:
    if message.get("content"):
        return None
    return {**message, "content": rng.choice((None, ""))}


def _with_more(message: Message, rng: random.Random) -> Message:
    return {**message, "refusal": None, "annotations": [], "index": 0}


CHANGES = (
    ("drop reasoning", _without_reasoning, 0.4),
    ("trim whitespace", _trimmed, 0.4),
    ("re-serialize tool JSON", _spelt_anew, 0.5),
    ("content as parts", _as_parts, 0.2),
    ("content null or empty", _empty_as_null, 0.5),
    ("add fields", _with_more, 0.3),
)
