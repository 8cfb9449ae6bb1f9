"""Conversations that some templates refuse or show in part, each with the form in which such a template shows it.

A repair is tried when a template is loaded (`adapter.py`) and is used only where it makes the difference. It copies what it
changes, and it gives back the list it got if there is nothing to change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from rollout.chat_template.openai_messages import Message, Tool, parsed_arguments

HEAD_ROLES = ("system", "developer")
SHORT_ID = 9  # characters, letters and digits, as Mistral's templates want them


class Entry(NamedTuple):
    """A message of a conversation."""

    message: Message
    is_output: bool = (
        False  # its tokens are stored, and the template is asked for what follows them
    )


Conversation = list[Entry]


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """`shows` are the texts in the samples that a template must show."""

    note: str
    apply: Callable[[Conversation], Conversation]
    samples: Sequence[Sequence[Message]]
    shows: Sequence[str]
    tools: Sequence[Tool] | None = None  # in the samples
    changes_outputs: bool = False  # what an assistant said is shown in other words


def text_results(conversation: Conversation) -> Conversation:
    """Every result of a tool as a user's message."""
    return _changed(conversation, lambda m: _said_by_user(m) if m["role"] == "tool" else m)


def text_calls(conversation: Conversation) -> Conversation:
    """Every call as JSON in the text."""
    return _changed(conversation, lambda m: _with_calls_as_text(m) if m.get("tool_calls") else m)


def named_calls(conversation: Conversation) -> Conversation:
    """An id for calls without one; a result without one gets that of the next call without a result."""
    waiting: list[str] = []
    count = 0

    def named(message: Message) -> Message:
        nonlocal count, waiting
        if calls := _calls(message):
            ids = [call.get("id") or f"call_{count + i}" for i, call in enumerate(calls)]
            count += len(ids)
            waiting = list(ids)
            if all(call.get("id") for call in calls):
                return message
            pairs = zip(calls, ids, strict=True)
            return {**message, "tool_calls": [{**call, "id": id_} for call, id_ in pairs]}
        if message["role"] != "tool":
            return message
        if given := message.get("tool_call_id"):
            waiting = [id_ for id_ in waiting if id_ != given]
            return message
        return {**message, "tool_call_id": waiting.pop(0) if waiting else f"call_{count}"}

    return _changed(conversation, named)


def answered_results(conversation: Conversation) -> Conversation:
    """A result that answers no call before it as a user's message."""
    open_ids: list[object] = []

    def answered(message: Message) -> Message:
        if message["role"] == "tool":
            is_known = message.get("tool_call_id") in open_ids
            return message if is_known else _said_by_user(message)
        open_ids[:] = [call.get("id") for call in _calls(message)]
        return message

    return _changed(conversation, answered)


def one_head(conversation: Conversation) -> Conversation:
    """System messages at the beginning as one."""
    num_heads = _num_heads(conversation)
    if num_heads < 2:
        return conversation
    head, *others = conversation[:num_heads]
    for other in others:
        head = _joined(head, other)
    return [head, *conversation[num_heads:]]


def no_head(conversation: Conversation) -> Conversation:
    """System messages as a user's."""
    return _changed(conversation, lambda m: _said_by_user(m) if _is_head(m) else m)


def early_head(conversation: Conversation) -> Conversation:
    """System messages after the beginning as a user's."""
    num_heads = _num_heads(conversation)
    rest = conversation[num_heads:]
    changed = no_head(rest)
    return conversation if changed is rest else [*conversation[:num_heads], *changed]


def single_calls(conversation: Conversation) -> Conversation:
    """Each of several calls in a message of its own, with its result after it; of a stored output the first call only."""
    if not any(len(_calls(each.message)) > 1 for each in conversation):
        return conversation
    return list(_single_calls(conversation))


def _single_calls(conversation: Conversation) -> Iterator[Entry]:
    place = 0
    while place < len(conversation):
        current = conversation[place]
        calls, results = _calls(current.message), _results_after(conversation, place)
        place += 1
        if len(calls) < 2:
            yield current
            continue
        if current.is_output:
            yield Entry({**current.message, "tool_calls": calls[:1]}, True)
            continue
        place += len(results)
        for number, call in enumerate(calls):
            said = current.message if number == 0 else {"role": "assistant", "content": ""}
            yield Entry({**said, "tool_calls": [call]})
            answers = [each for each in results if _answers(each.message, call)]
            yield from answers
            results = [each for each in results if each not in answers]
        yield from results


def object_arguments(conversation: Conversation) -> Conversation:
    """Arguments that are no JSON object as the one argument of an object."""

    def with_objects(message: Message) -> Message:
        calls = _calls(message)
        if not calls:
            return message
        parsed = [parsed_arguments(call["function"].get("arguments")) for call in calls]
        if all(isinstance(each, dict) for each in parsed):
            return message
        pairs = zip(calls, parsed, strict=True)
        return {**message, "tool_calls": [_with_arguments(*pair) for pair in pairs]}

    return _changed(conversation, with_objects)


def short_ids(conversation: Conversation) -> Conversation:
    """Ids of nine letters and digits; equal ids stay equal."""

    def shortened(message: Message) -> Message:
        calls = _calls(message)
        if any(_is_long(call.get("id")) for call in calls):
            short = [{**call, "id": _short_id(call.get("id"))} for call in calls]
            return {**message, "tool_calls": short}
        if message["role"] == "tool" and _is_long(message.get("tool_call_id")):
            return {**message, "tool_call_id": _short_id(message.get("tool_call_id"))}
        return message

    return _changed(conversation, shortened)


def said_something(conversation: Conversation) -> Conversation:
    """A space in an assistant's message that says and calls nothing."""

    def filled(message: Message) -> Message:
        is_empty = not (message.get("content") or message.get("tool_calls"))
        return {**message, "content": " "} if _is_assistant(message) and is_empty else message

    return _changed(conversation, filled)


def with_question(conversation: Conversation) -> Conversation:
    """A user's message in a conversation without one: the last system message, or an empty one."""
    if any(each.message["role"] == "user" for each in conversation):
        return conversation
    num_heads = _num_heads(conversation)
    if num_heads and num_heads == len(conversation):
        return [*conversation[:-1], Entry(_said_by_user(conversation[-1].message))]
    return [*conversation[:num_heads], _nothing_said(), *conversation[num_heads:]]


def alternating(conversation: Conversation) -> Conversation:
    """A user's messages in a row as one, and an empty one of a user before an assistant's that follows none."""
    result: Conversation = []
    is_changed = False
    for each in conversation:
        before = result[-1].message["role"] if result else "assistant"
        role = each.message["role"]
        if role == before == "user":
            result[-1] = _joined(result[-1], each)
        elif role == "assistant" and before in ("assistant", *HEAD_ROLES):
            result += [_nothing_said(), each]
        else:
            result.append(each)
            continue
        is_changed = True
    return result if is_changed else conversation


def _changed(conversation: Conversation, change: Callable[[Message], Message]) -> Conversation:
    """The conversation with each message changed; the same list if none was."""
    messages = [change(each.message) for each in conversation]
    pairs = list(zip(conversation, messages, strict=True))
    if all(new is old.message for old, new in pairs):
        return conversation
    return [old if new is old.message else Entry(new, old.is_output) for old, new in pairs]


def _is_head(message: Message) -> bool:
    return message["role"] in HEAD_ROLES


def _is_assistant(message: Message) -> bool:
    return bool(message["role"] == "assistant")


def _num_heads(conversation: Conversation) -> int:
    places = (place for place, each in enumerate(conversation) if not _is_head(each.message))
    return next(places, len(conversation))


def _calls(message: Message) -> list[dict[str, Any]]:
    if not _is_assistant(message):
        return []
    return [call for call in message.get("tool_calls") or () if "function" in call]


def _results_after(conversation: Conversation, place: int) -> Conversation:
    end = place + 1
    while end < len(conversation) and conversation[end].message["role"] == "tool":
        end += 1
    return conversation[place + 1 : end]


def _answers(result: Message, call: dict[str, Any]) -> bool:
    return bool(result.get("tool_call_id") == call.get("id"))


def _said_by_user(message: Message) -> Message:
    return {"role": "user", "content": message.get("content")}


def _nothing_said() -> Entry:
    return Entry({"role": "user", "content": ""})


def _joined(first: Entry, second: Entry) -> Entry:
    """Two messages of one role as one."""
    contents = [each.message.get("content") or "" for each in (first, second)]
    if all(isinstance(content, str) for content in contents):
        joined: object = "\n\n".join(filter(None, contents))
    else:
        joined = [part for content in contents for part in _parts(content)]
    return Entry({**first.message, "content": joined})


def _parts(content: Any) -> Sequence[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _with_calls_as_text(message: Message) -> Message:
    calls = [
        json.dumps(
            {"name": function["name"], "arguments": parsed_arguments(function.get("arguments"))},
            ensure_ascii=False,
        )
        for function in (call["function"] for call in _calls(message))
    ]
    plain = {name: value for name, value in message.items() if name != "tool_calls"}
    said = [text for text in (message.get("content"), *calls) if text]
    return {**plain, "content": "\n".join(said)}


def _with_arguments(call: dict[str, Any], parsed: Any) -> dict[str, Any]:
    """The call with an object: the one that a text spells, or one that holds what was given."""
    again = parsed_arguments(parsed) if isinstance(parsed, str) else parsed
    shown = again if isinstance(again, dict) else {"arguments": parsed}
    return {**call, "function": {**call["function"], "arguments": shown}}


def _is_long(id_: Any) -> bool:
    is_short = isinstance(id_, str) and len(id_) == SHORT_ID and id_.isascii() and id_.isalnum()
    return not is_short


def _short_id(id_: Any) -> str:
    if not _is_long(id_):
        return str(id_)
    return blake2b(str(id_).encode(), digest_size=SHORT_ID).hexdigest()[:SHORT_ID]
