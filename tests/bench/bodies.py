"""The two request bodies every gateway figure is quoted for: a small one and an agent's."""

import inspect
import json
import tokenize
from typing import Any

import orjson

AGENT_BYTES = 19_000  # about 3.7k tokens


def small(*, stream: bool) -> bytes:
    text = inspect.getsource(tokenize)[2_000:2_520]
    messages = [
        {"role": "system", "content": "You are a careful assistant."},
        {"role": "user", "content": text},
    ]
    return orjson.dumps(
        {"model": "policy", "messages": messages, "max_tokens": 300, "stream": stream}
    )


def agent(*, stream: bool) -> bytes:
    """Twelve messages of an agent that reads code with three tools."""
    source = inspect.getsource(json.decoder) + inspect.getsource(tokenize)
    piece = AGENT_BYTES // 6 - 300
    messages: list[dict[str, Any]] = [{"role": "system", "content": source[:piece]}]
    for place in range(5):
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
    messages.append({"role": "user", "content": "Go on."})
    tools = [tool(name) for name in ("read", "write", "run")]
    body = {
        "model": "policy",
        "messages": messages,
        "tools": tools,
        "max_tokens": 300,
        "stream": stream,
    }
    return orjson.dumps(body)


def tool(name: str) -> dict[str, Any]:
    path = {"type": "string", "description": "A path relative to the repository's root."}
    parameters = {"type": "object", "properties": {"path": path}, "required": ["path"]}
    function = {
        "name": name,
        "description": f"{name.title()} a file of the repository.",
        "parameters": parameters,
    }
    return {"type": "function", "function": function}
