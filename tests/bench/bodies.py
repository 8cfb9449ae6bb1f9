"""The request bodies that gateway figures are quoted for. No two are equal, as no two turns are."""

import inspect
import json
import tokenize
from collections.abc import Iterator
from typing import Any

import orjson

HISTORY_BYTES = 15_000  # with tools, the last reply and the new message about 19 KB and 3.7k tokens
MAX_TOKENS = 300

Message = dict[str, Any]


def small(*, stream: bool, max_tokens: int = MAX_TOKENS) -> Iterator[bytes]:
    """First turns of new episodes: a system prompt and a question, about 155 tokens."""
    text = inspect.getsource(tokenize)[2_000:2_480]
    place = 0
    while True:
        place += 1
        messages = [
            {"role": "system", "content": "You are a careful assistant."},
            {"role": "user", "content": f"Question {place}: {text}"},
        ]
        yield encoded(messages, stream=stream, max_tokens=max_tokens)


def history() -> list[Message]:
    """What an agent that reads code has behind it: ten messages."""
    source = inspect.getsource(json.decoder) + inspect.getsource(tokenize)
    piece = HISTORY_BYTES // 6
    messages: list[Message] = [{"role": "system", "content": source[:piece]}]
    for place in range(4):
        call = {"name": "read", "arguments": json.dumps({"path": f"module_{place}.py"})}
        messages.append(
            {
                "role": "assistant",
                "content": f"I read module {place}.",
                "tool_calls": [{"id": f"call_{place}", "type": "function", "function": call}],
            }
        )
        start = (place + 1) * piece
        content = source[start : start + piece]
        messages.append({"role": "tool", "tool_call_id": f"call_{place}", "content": content})
    messages.append({"role": "user", "content": source[5 * piece : 6 * piece]})
    return messages


def opening() -> bytes:
    """The turn before the measured ones: the history with its tools."""
    return encoded(history(), stream=False, tools=tools())


def agent(reply: Message) -> Iterator[bytes]:
    """Turns that go on from a recorded reply, each with another message of about 480 tokens."""
    source = inspect.getsource(json.encoder) * 2
    place = 0
    while True:
        place = (place + 97) % (len(source) - 2_000)
        news = {"role": "user", "content": source[place : place + 1_700]}
        yield encoded([*history(), reply, news], stream=False, tools=tools())


def tools() -> list[Message]:
    return [tool(name) for name in ("read", "write", "run")]


def tool(name: str) -> Message:
    path = {"type": "string", "description": "A path relative to the repository's root."}
    function = {
        "name": name,
        "description": f"{name.title()} a file of the repository.",
        "parameters": {"type": "object", "properties": {"path": path}, "required": ["path"]},
    }
    return {"type": "function", "function": function}


def encoded(messages: list[Message], *, stream: bool, **more: Any) -> bytes:
    body = {"model": "policy", "messages": messages, "max_tokens": MAX_TOKENS, "stream": stream}
    return orjson.dumps(body | more)
