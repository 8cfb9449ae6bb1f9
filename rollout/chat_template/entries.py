"""The messages of a conversation as repairs see them, and what repairs of every kind do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rollout.chat_template.openai_messages import Message

HEAD_ROLES = ("system", "developer")


class Entry(NamedTuple):
    """A message of a conversation."""

    message: Message
    is_output: bool = (
        False  # its tokens are stored, and the template is asked for what follows them
    )


Conversation = list[Entry]


def changed(conversation: Conversation, change: Callable[[Message], Message]) -> Conversation:
    """The conversation with each message changed; the same list if none was."""
    messages = [change(each.message) for each in conversation]
    pairs = list(zip(conversation, messages, strict=True))
    if all(new is old.message for old, new in pairs):
        return conversation
    return [old if new is old.message else Entry(new, old.is_output) for old, new in pairs]


def is_head(message: Message) -> bool:
    return message["role"] in HEAD_ROLES


def is_assistant(message: Message) -> bool:
    return bool(message["role"] == "assistant")


def num_heads_of(conversation: Conversation) -> int:
    places = (place for place, each in enumerate(conversation) if not is_head(each.message))
    return next(places, len(conversation))


def calls_of(message: Message) -> list[dict[str, Any]]:
    if not is_assistant(message):
        return []
    return [call for call in message.get("tool_calls") or () if "function" in call]


def said_by_user(message: Message) -> Message:
    return {"role": "user", "content": message.get("content")}


def nothing_said() -> Entry:
    return Entry({"role": "user", "content": ""})


def joined(first: Entry, second: Entry) -> Entry:
    """Two messages of one role as one."""
    contents = [each.message.get("content") or "" for each in (first, second)]
    if all(isinstance(each, str) for each in contents):
        content: object = "\n\n".join(filter(None, contents))
    else:
        content = [part for each in contents for part in _parts(each)]
    return Entry({**first.message, "content": content})


def _parts(content: Any) -> Sequence[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
