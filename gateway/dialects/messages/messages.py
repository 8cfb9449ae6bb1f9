"""Anthropic's messages, each converted to the messages that templates read.

user: tool_result, tool_result, text     ->  tool, tool, user
assistant: thinking, text, tool_use      ->  one assistant message
"""

import json
from collections.abc import Sequence

import msgspec
import orjson

from gateway.dialects.bodies.fields import check_length, read_message
from gateway.dialects.bodies.limits import MAX_CALLS
from gateway.dialects.messages.blocks import Block, Part, blocks_of, content_of, parts_of, text_of
from gateway.dialects.messages.ids import call_id
from gateway.dialects.messages.tool_input import arguments_of
from gateway.errors import BadRequest
from gateway.request.messages import Item
from gateway.request.request import ChatMessage

# What Anthropic's own servers write into a history.
_SERVER_BLOCKS = ("server_tool_use", "mcp_tool_use", "container_upload", "compaction", "fallback")
_SERVER_RESULTS = "_tool_result"


def read_item(raw: msgspec.Raw, where: str) -> Item:
    """Read and check one message."""
    message = read_message(raw, where)
    content = f"{where}.content"
    match message.get("role"):
        case "user":
            return _user(blocks_of(message.get("content"), content), content)
        case "assistant":
            return _assistant(blocks_of(message.get("content"), content), content)
        case "system":
            text = text_of(message.get("content"), content)
            return Item([{"role": "system", "content": text}])
    raise BadRequest(
        f"{where}.role must be user, assistant or system",
        param=f"{where}.role",
        code="invalid_value",
    )


def _user(blocks: Sequence[Block], where: str) -> Item:
    results: list[ChatMessage] = []
    parts: list[Part] = []
    notes: list[str] = []
    for i, block in enumerate(blocks):
        if block.get("type") == "tool_result":
            results.append(_tool_result(block, f"{where}[{i}]"))
        elif _is_of_server(block):
            notes.append(_dropped(block))
        else:
            parts += parts_of(block, f"{where}[{i}]")
    if parts or not results:
        results.append({"role": "user", "content": content_of(parts)})
    return Item(results, notes=notes)


def _tool_result(block: Block, where: str) -> ChatMessage:
    inner = f"{where}.content"
    parts = [
        part
        for i, each in enumerate(blocks_of(block.get("content"), inner))
        for part in parts_of(each, f"{inner}[{i}]")
    ]
    if block.get("is_error") is True:
        parts = ["Error:", *parts]
    message: dict[str, object] = {"role": "tool", "content": content_of(parts)}
    if isinstance(block.get("tool_use_id"), str):
        message["tool_call_id"] = call_id(block["tool_use_id"])
    return message


def _assistant(blocks: Sequence[Block], where: str) -> Item:
    texts: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, object]] = []
    signatures: list[str] = []
    notes: list[str] = []
    for i, block in enumerate(blocks):
        match block.get("type"):
            case "text":
                texts += map(str, parts_of(block, f"{where}[{i}]"))
            case "thinking" | "redacted_thinking":
                reasoning.append(str(block.get("thinking") or ""))
                signatures.append(str(block.get("signature") or block.get("data") or ""))
            case "tool_use":
                calls.append(_tool_use(block, f"{where}[{i}]"))
            case _:
                notes.append(_dropped(block))
    check_length(calls, MAX_CALLS, where)
    message: dict[str, object] = {"role": "assistant", "content": "".join(texts)}
    if any(reasoning):
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    return Item([message], returned_ids=[each for each in signatures if each], notes=notes)


def _tool_use(block: Block, where: str) -> dict[str, object]:
    name, id_ = block.get("name"), block.get("id")
    if not isinstance(name, str):
        raise BadRequest(
            f"{where}.name must be a string", param=f"{where}.name", code="invalid_value"
        )
    return {
        "id": call_id(id_) if isinstance(id_, str) else "",
        "type": "function",
        "function": {"name": name, "arguments": _arguments(block.get("input"))},
    }


def _arguments(tool_input: object) -> object:
    """Arguments that can be written again: as text if they hold integers beyond 64 bits, or nest too deeply."""
    arguments = arguments_of(tool_input)
    try:
        orjson.dumps(arguments)
    except TypeError:
        return json.dumps(arguments)
    return arguments


def _is_of_server(block: Block) -> bool:
    kind = str(block.get("type"))
    return kind in _SERVER_BLOCKS or kind.endswith(_SERVER_RESULTS)


def _dropped(block: Block) -> str:
    return f"content block {str(block.get('type'))[:64]} left out"
