"""Orders of roles that some templates refuse or show in part, each in a form that such a template shows.

A repair copies what it changes, and gives back the list that it got if there is nothing to change.
"""

from __future__ import annotations

from rollout.chat_template.entries import (
    HEAD_ROLES,
    Conversation,
    Entry,
    changed,
    is_assistant,
    is_head,
    joined,
    nothing_said,
    num_heads_of,
    said_by_user,
)
from rollout.chat_template.openai_messages import Message


def one_head(conversation: Conversation) -> Conversation:
    """System messages at the beginning as one."""
    num_heads = num_heads_of(conversation)
    if num_heads < 2:
        return conversation
    head, *others = conversation[:num_heads]
    for other in others:
        head = joined(head, other)
    return [head, *conversation[num_heads:]]


def no_head(conversation: Conversation) -> Conversation:
    """System messages as a user's."""
    return changed(conversation, lambda m: said_by_user(m) if is_head(m) else m)


def early_head(conversation: Conversation) -> Conversation:
    """System messages after the beginning as a user's."""
    num_heads = num_heads_of(conversation)
    rest = conversation[num_heads:]
    said = no_head(rest)
    return conversation if said is rest else [*conversation[:num_heads], *said]


def said_something(conversation: Conversation) -> Conversation:
    """A space in an assistant's message that says and calls nothing."""

    def filled(message: Message) -> Message:
        is_empty = not (message.get("content") or message.get("tool_calls"))
        return {**message, "content": " "} if is_assistant(message) and is_empty else message

    return changed(conversation, filled)


def with_question(conversation: Conversation) -> Conversation:
    """A user's message in a conversation without one: the last system message, or an empty one."""
    if any(each.message["role"] == "user" for each in conversation):
        return conversation
    num_heads = num_heads_of(conversation)
    if num_heads and num_heads == len(conversation):
        return [*conversation[:-1], Entry(said_by_user(conversation[-1].message))]
    return [*conversation[:num_heads], nothing_said(), *conversation[num_heads:]]


def alternating(conversation: Conversation) -> Conversation:
    """A user's messages in a row as one, and an empty one of a user before an assistant's that follows none."""
    result: Conversation = []
    is_changed = False
    for each in conversation:
        before = result[-1].message["role"] if result else "assistant"
        role = each.message["role"]
        if role == before == "user":
            result[-1] = joined(result[-1], each)
        elif role == "assistant" and before in ("assistant", *HEAD_ROLES):
            result += [nothing_said(), each]
        else:
            result.append(each)
            continue
        is_changed = True
    return result if is_changed else conversation
