"""Conversations on which a template is tried when it is loaded: turns with and without reasoning, tool loops, edges.

No user or tool message has a text that an assistant message has too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rollout.chat_template.openai_messages import Message, Tool

TOOLS: Final[Sequence[Tool]] = (
    {
        "type": "function",
        "function": {
            "name": "price",
            "description": "The price of an item, <in> \"euros\" & 'cents' — €.",
            "parameters": {
                "type": "object",
                "properties": {
                    "item": {"type": "string", "description": "its name", "enum": ["a", "b"]},
                    "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                    "exact": {"type": "boolean", "default": True},
                    "limit": {"type": ["number", "null"], "default": None, "maximum": 1.5},
                },
                "required": ["item"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "now",
            "description": "The time.",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
    },
)
STAND_IN: Final = "stand_in_for_tools"
# Stands for any tools where it matters only that there are some.
ONE_TOOL: Final[Sequence[Tool]] = (
    {
        "type": "function",
        "function": {
            "name": STAND_IN,
            "description": "Stands in.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
)


def _system(content: str = "Be terse.\n") -> Message:
    return {"role": "system", "content": content}


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str, reasoning: str = "", *calls: tuple[str, dict[str, Any]]) -> Message:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {
                "id": f"c{index:08}",
                "type": "function",
                "function": {"name": name, "arguments": args},
            }
            for index, (name, args) in enumerate(calls)
        ]
    return message


def _tool(content: str, call: int = 0, name: str = "price") -> Message:
    return {"role": "tool", "content": content, "tool_call_id": f"c{call:08}", "name": name}


_PRICE = ("price", {"item": "a <b> é", "tags": ["x", "y"], "exact": True, "limit": None})
_LIMIT = ("price", {"item": "two\nlines", "limit": 1.5, "exact": False, "more": {"deep": [1, {}]}})
_NOW: tuple[str, dict[str, Any]] = ("now", {})

PLAIN: Final[Sequence[Message]] = (
    _user("Hello <there>"),
    _assistant("Hi & welcome.\n"),
    _user("  And   now? é"),
    _assistant("  Still here.  "),
    _user("Good."),
    _assistant("Bye."),
    _user("Last one"),
)
THOUGHTFUL: Final[Sequence[Message]] = (
    _user("Think."),
    _assistant("Done.", "First thought."),
    _user("Again."),
    _assistant("<think>\nInline thought.\n</think>\n\nDone again."),
    _user("Now quickly."),
    _assistant("Quick."),
    _user("Last one"),
)
ONE_CALL_EACH: Final[Sequence[Message]] = (
    _user("What is it?"),
    _assistant("", "", _PRICE),
    _tool("thirty-three"),
    _assistant("", "", _NOW),
    _tool('{"time": "noon"}', name="now"),
    _assistant("Let me look.", "", _LIMIT),
    _tool("no such item\n"),
    _assistant("It is 33."),
    _user("And then?"),
    _assistant("", "", _PRICE),
    _tool("thirty-four"),
    _assistant("34."),
    _user("Thanks"),
)
PARALLEL_CALLS: Final[Sequence[Message]] = (
    _user("Both?"),
    _assistant("I need both.", "Two things.", _PRICE, _NOW),
    _tool("thirty-three"),
    _tool("midnight", 1, "now"),
    _assistant("", "One more.", _LIMIT),
    _tool("one left"),
    _assistant("", "", _NOW),
    _tool("evening", name="now"),
    _assistant("All done.", "At last."),
    _user("Sure?"),
    _assistant("", "Check.", _PRICE),
    _tool("thirty-three"),
    _assistant("Yes."),
    _user("Thanks"),
)

CONVERSATIONS: Final[Sequence[tuple[Sequence[Message], Sequence[Tool] | None]]] = (
    (PLAIN, None),
    ((_system(), *PLAIN), None),
    ((_system(), *THOUGHTFUL), None),
    (ONE_CALL_EACH, TOOLS),
    ((_system(), *ONE_CALL_EACH), TOOLS),
    ((_system(), *PARALLEL_CALLS), TOOLS),
)
