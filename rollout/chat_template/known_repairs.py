"""The repairs in the order in which they are tried and used, each with a conversation that shows whether a template needs it."""

from __future__ import annotations

import json
from typing import Any, Final

from rollout.chat_template import call_repairs, role_repairs
from rollout.chat_template.openai_messages import Message
from rollout.chat_template.repair import Repair
from rollout.chat_template.sample_chats import ONE_TOOL

_LONG_ID = "call_0123456789abcdef01234567"


def _system(content: str) -> Message:
    return {"role": "system", "content": content}


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str, *calls: Message) -> Message:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    return {**message, "tool_calls": list(calls)} if calls else message


def _call(argument: object, id_: str = "c00000000") -> Message:
    function = {"name": "price", "arguments": argument}
    return {"id": id_, "type": "function", "function": function}


def _result(content: str, id_: str = "c00000000") -> Message:
    return {"role": "tool", "tool_call_id": id_, "name": "price", "content": content}


_QUESTION, _ANSWER, _NEXT = _user("question-1"), _assistant("answer-2"), _user("question-3")
_CALL = _assistant("", _call({"item": "melon-7"}))
_TWO_CALLS = (_call({"item": "melon-7"}), _call({"item": "lemon-8"}, "c00000001"))

REPAIRS: Final = (
    Repair(
        note="results of tools are shown as the user's messages",
        apply=call_repairs.text_results,
        samples=((_QUESTION, _CALL, _result("result-4")),),
        shows=("result-4",),
    ),
    Repair(
        note="calls are shown as JSON in the text",
        apply=call_repairs.text_calls,
        samples=((_QUESTION, _CALL, _result("result-4")),),
        shows=("melon-7",),
        changes_outputs=True,
    ),
    Repair(
        note="calls or results without an id got one",
        apply=call_repairs.named_calls,
        samples=(
            (
                _QUESTION,
                _assistant("", _call({"item": "melon-7"}, "")),
                {"role": "tool", "content": "result-4"},
            ),
        ),
        shows=("result-4",),
    ),
    Repair(
        note="a result that answers no call is shown as the user's message",
        apply=call_repairs.answered_results,
        samples=(
            (_QUESTION, _result("result-4")),
            (_QUESTION, _ANSWER, _result("result-4"), _NEXT),
        ),
        shows=("result-4",),
    ),
    Repair(
        note="system messages at the beginning are joined",
        apply=role_repairs.one_head,
        samples=((_system("rule-5"), _system("rule-6"), _QUESTION),),
        shows=("rule-5", "rule-6"),
    ),
    Repair(
        note="system messages are shown as the user's",
        apply=role_repairs.no_head,
        samples=((_system("rule-5"), _QUESTION),),
        shows=("rule-5", "question-1"),
    ),
    Repair(
        note="system messages after the beginning are shown as the user's",
        apply=role_repairs.early_head,
        samples=(
            (_system("rule-5"), _QUESTION, _ANSWER, _system("rule-6")),
            (_QUESTION, _ANSWER, _system("rule-5"), _system("rule-6")),
            (_QUESTION, _system("rule-5"), _NEXT),
        ),
        shows=("rule-5", "rule-6"),
    ),
    Repair(
        note="several calls of one message are shown one after the other",
        apply=call_repairs.single_calls,
        samples=(
            (
                _QUESTION,
                _assistant("", *_TWO_CALLS),
                _result("result-4"),
                _result("result-9", "c00000001"),
            ),
        ),
        shows=("melon-7", "lemon-8", "result-4", "result-9"),
        changes_outputs=True,
    ),
    Repair(
        note="arguments that are no JSON object are shown in one",
        apply=call_repairs.object_arguments,
        samples=tuple(
            (_QUESTION, _assistant("", _call(arguments)), _result("result-4"))
            for arguments in ('{"item": "melon-7', json.dumps(["melon-7"]), '"melon-7"')
        ),
        shows=("melon-7", "result-4"),
        changes_outputs=True,
    ),
    Repair(
        note="ids of calls are shown in nine characters",
        apply=call_repairs.short_ids,
        samples=(
            (
                _QUESTION,
                _assistant("", _call({"item": "melon-7"}, _LONG_ID)),
                _result("result-4", _LONG_ID),
            ),
        ),
        shows=("result-4",),
    ),
    Repair(
        note="an assistant's message that says nothing is shown as a space",
        apply=role_repairs.said_something,
        samples=((_QUESTION, _assistant(""), _NEXT),),
        shows=("question-1", "question-3"),
    ),
    Repair(
        note="a user's message was added to a conversation without one",
        apply=role_repairs.with_question,
        samples=((_system("rule-5"),), (_system("rule-5"), _ANSWER)),
        shows=("rule-5",),
        tools=ONE_TOOL,
    ),
    Repair(
        note="messages of one role in a row are joined or separated",
        apply=role_repairs.alternating,
        samples=(
            (_QUESTION, _NEXT),
            (_QUESTION, _ANSWER, _assistant("answer-4"), _NEXT),
            (_ANSWER, _NEXT),
        ),
        shows=("question-3",),
    ),
)
