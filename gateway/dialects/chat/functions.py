"""`functions` and `function_call`, which came before `tools` and `tool_choice`, as the latter."""

from typing import Any

from gateway.dialects.bodies.fields import NULL
from gateway.dialects.bodies.tools import read_tools
from gateway.dialects.chat.body import ChatBody


def calls_functions(chat: ChatBody) -> bool:
    """Whether the caller knows functions and no tools, and wants its answer so."""
    return chat.functions is not NULL and chat.tools is NULL


def read_functions(chat: ChatBody) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": each} for each in read_tools(chat.functions, "functions")
    ]


def choice_of(function_call: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """none, auto or a function's name, as `tool_choice` has it."""
    if isinstance(function_call, dict):
        return {"type": "function", "function": function_call}
    return function_call
