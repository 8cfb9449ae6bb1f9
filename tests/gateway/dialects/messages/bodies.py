"""What the calls of the Messages tests are made of."""

from typing import Any

MESSAGES = "/v1/messages"
USER: Any = [{"role": "user", "content": "Hi"}]
BODY: Any = {"model": "policy", "max_tokens": 64, "messages": USER}
PRICE: Any = {
    "name": "price",
    "description": "What it costs.",
    "input_schema": {"type": "object", "properties": {"item": {"type": "string"}}},
}
CHAT_PRICE: Any = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "What it costs.",
        "parameters": PRICE["input_schema"],
    },
}
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'

THOUGHT = "<think>\nSo it is.\n</think>\n\n"
BROKEN = CALL.replace('"melon"}', 'melon, "a": [1}')
