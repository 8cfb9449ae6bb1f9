"""Calls and results that some templates refuse or leave out, each in a form that such a template shows.

A repair copies what it changes, and gives back the list that it got if there is nothing to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from rollout.chat_template.entries import Conversation, Entry, calls_of, changed, said_by_user
from rollout.chat_template.openai_messages import Message, parsed_arguments

SHORT_ID = 9  # characters, letters and digits, as Mistral's templates want them


def text_results(conversation: Conversation) -> Conversation:
    """Every result of a tool as a user's message."""
    return changed(conversation, lambda m: said_by_user(m) if m["role"] == "tool" else m)


def text_calls(conversation: Conversation) -> Conversation:
    """Every call as JSON in the text."""
    return changed(conversation, lambda m: _with_calls_as_text(m) if m.get("tool_calls") else m)


def named_calls(conversation: Conversation) -> Conversation:
    """An id for calls without one; a result without one gets that of the next call without a result."""
    waiting: list[str] = []
    count = 0

    def named(message: Message) -> Message:
        nonlocal count, waiting
        if calls := calls_of(message):
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

    return changed(conversation, named)


def answered_results(conversation: Conversation) -> Conversation:
    """A result that answers no call before it as a user's message."""
    open_ids: list[object] = []

    def answered(message: Message) -> Message:
        if message["role"] == "tool":
            is_known = message.get("tool_call_id") in open_ids
            return message if is_known else said_by_user(message)
        open_ids[:] = [call.get("id") for call in calls_of(message)]
        return message

    return changed(conversation, answered)


def single_calls(conversation: Conversation) -> Conversation:
    """Each of several calls in a message of its own, with its result after it; of a stored output the first call only."""
    if not any(len(calls_of(each.message)) > 1 for each in conversation):
        return conversation
    return list(_single_calls(conversation))


def _single_calls(conversation: Conversation) -> Iterator[Entry]:
    place = 0
    while place < len(conversation):
        current = conversation[place]
        calls, results = calls_of(current.message), _results_after(conversation, place)
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
        calls = calls_of(message)
        if not calls:
            return message
        parsed = [parsed_arguments(call["function"].get("arguments")) for call in calls]
        if all(isinstance(each, dict) for each in parsed):
            return message
        pairs = zip(calls, parsed, strict=True)
        return {**message, "tool_calls": [_with_arguments(*pair) for pair in pairs]}

    return changed(conversation, with_objects)


def short_ids(conversation: Conversation) -> Conversation:
    """Ids of nine letters and digits; equal ids stay equal."""

    def shortened(message: Message) -> Message:
        calls = calls_of(message)
        if any(_is_long(call.get("id")) for call in calls):
            short = [{**call, "id": _short_id(call.get("id"))} for call in calls]
            return {**message, "tool_calls": short}
        if message["role"] == "tool" and _is_long(message.get("tool_call_id")):
            return {**message, "tool_call_id": _short_id(message.get("tool_call_id"))}
        return message

    return changed(conversation, shortened)


def _results_after(conversation: Conversation, place: int) -> Conversation:
    end = place + 1
    while end < len(conversation) and conversation[end].message["role"] == "tool":
        end += 1
    return conversation[place + 1 : end]


def _answers(result: Message, call: dict[str, Any]) -> bool:
    return bool(result.get("tool_call_id") == call.get("id"))


def _with_calls_as_text(message: Message) -> Message:
    calls = [
        json.dumps(
            {"name": function["name"], "arguments": parsed_arguments(function.get("arguments"))},
            ensure_ascii=False,
        )
        for function in (call["function"] for call in calls_of(message))
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
