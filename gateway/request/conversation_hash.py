"""Identifies a conversation: a hash after each message, over the parts that clients do not rewrite.

The hash only finds candidates for where a call attaches; the tokens decide (`attacher.py`). It leaves out what clients and
SDKs change: tool-call ids, `index`, null or empty content, whitespace at the ends, the spelling of JSON, reasoning.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

import orjson

from gateway.request.request import ChatMessage, ReplyChoice, ToolCall
from rollout.chat_template.openai_messages import parsed_arguments

_DIGEST_BYTES = 12
LONG = 512  # messages


class Chain(NamedTuple):
    """A conversation as the hash of each message; `start` is the hash of what comes before the first."""

    start: str
    prints: Sequence[bytes]

    def after(self, num_messages: int) -> str:
        """The hash after the first `num_messages` messages."""
        prints = b"".join(self.prints[:num_messages])
        return blake2b(self.start.encode() + prints, digest_size=_DIGEST_BYTES).hexdigest()

    def cached_after(self) -> Callable[[int], str]:
        """`after` for many places: in a long conversation all hashes are made at once, because each costs its length."""
        if len(self.prints) < LONG:
            return self.after
        digest = blake2b(self.start.encode(), digest_size=_DIGEST_BYTES)
        hashes = [digest.hexdigest()]
        for each in self.prints:
            digest.update(each)
            hashes.append(digest.copy().hexdigest())
        return hashes.__getitem__

    @property
    def end(self) -> str:
        return self.after(len(self.prints))

    def extended(self, message: ChatMessage) -> str:
        """The hash after one more message."""
        return self.extended_by(print_of(message))

    def extended_by(self, print_: bytes) -> str:
        """The same if the message's own hash is known."""
        return Chain(self.start, [*self.prints, print_]).end


def print_of(message: ChatMessage) -> bytes:
    """A message's own hash."""
    return blake2b(projection(message), digest_size=_DIGEST_BYTES).digest()


def projection(message: ChatMessage) -> bytes:
    """The parts that are equal in two messages that count as the same."""
    text = _content(message.get("content"))
    calls = message.get("tool_calls")
    called = [_call(call) for call in calls] if isinstance(calls, list) else []
    parts = [message["role"], text, called]
    try:
        return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(parts, sort_keys=True).encode()


def _content(content: object) -> object:
    if isinstance(content, list):
        return [part["image"].digest if "image" in part else part for part in content]
    return content.strip() if isinstance(content, str) else ""


def answer(choice: ReplyChoice, prefill: str) -> ChatMessage:
    """The message that a client sends back for an output, a prefill included."""
    return assistant_message(prefill + (choice.content or ""), choice.reasoning, choice.tool_calls)


def assistant_message(
    content: str | None, reasoning: str | None, tool_calls: Iterable[ToolCall]
) -> ChatMessage:
    """The message that a client sends back for an output."""
    message: dict[str, object] = {"role": "assistant", "content": content or ""}
    if reasoning:
        message["reasoning_content"] = reasoning
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in tool_calls
    ]
    if calls:
        message["tool_calls"] = calls
    return message


def _call(call: object) -> list[object]:
    assert isinstance(call, dict)
    function = call["function"]
    return [function["name"], _integral(parsed_arguments(function["arguments"]))]


def _integral(value: object) -> object:
    """The value with whole numbers as integers, because JavaScript sends 2.0 back as 2."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_integral(each) for each in value]
        case dict():
            return {name: _integral(each) for name, each in value.items()}
    return value
