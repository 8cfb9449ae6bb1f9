"""Tools of a Responses call as functions, which is what templates show and parsers read.

A custom tool takes plain text: it becomes a function with one argument, `input`. Tools that OpenAI runs itself are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.dialects.bodies.tools import forced_choice, wrong_choice
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.request import Tool, ToolChoice

INPUT = "input"  # the argument of a custom tool
NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}
_CHOICES = ("function", "custom", "allowed_tools")


class ReadTools(NamedTuple):
    functions: tuple[Tool, ...]
    custom: frozenset[str]
    shown: tuple[dict[str, object], ...]  # those that are in effect, in the form of Responses
    notes: tuple[str, ...] = ()


def read_tools(given: Sequence[dict[str, Any]]) -> ReadTools:
    """Raises BadRequest for a tool without a name."""
    functions: list[Tool] = []
    shown: list[dict[str, object]] = []
    custom: set[str] = set()
    notes: list[str] = []
    for place, tool in enumerate(given):
        where = f"tools[{place}]"
        kind = tool.get("type", "function")
        if kind not in ("function", "custom"):
            notes.append(f"a tool of type {str(kind)[:64]} is left out")
            continue
        name = _name(tool, where)
        json_text([[[tool]]], where)  # as deep as in an event: {"response": {"tools": [tool]}}
        if kind == "custom":
            custom.add(name)
            shown.append({"type": "custom", "name": name} | tool)
            functions.append(_function_of_custom(name, tool))
            if _grammar(tool):
                notes.append(f"the grammar of the custom tool {name} is shown and not enforced")
        else:
            shown.append(_shown_function(name, tool))
            functions.append(_function(name, tool))
    return ReadTools(tuple(functions), frozenset(custom), tuple(shown), tuple(notes))


def read_choice(
    choice: str | dict[str, Any] | None, tools: ReadTools
) -> tuple[ToolChoice, ReadTools]:
    """The choice, and the tools that it leaves. Raises BadRequest."""
    if choice is None or isinstance(choice, str):
        return _choice_of_word(choice, tools), tools
    match choice:
        case {"type": "function" | "custom", "name": name}:
            return forced_choice(tools.functions, str(name)), tools
        case {"type": "allowed_tools", "tools": list(allowed)}:
            left = _allowed(tools, allowed)
            return _choice_of_word(choice.get("mode"), left), left
        case {"type": str(kind)} if kind not in _CHOICES:
            note = f"tool_choice of type {kind[:64]} is read as auto"
            return ToolChoice(), tools._replace(notes=(*tools.notes, note))
    raise wrong_choice()


def shown_choice(choice: str | dict[str, Any] | None) -> object:
    """The choice that is in effect, None for the default."""
    is_served = not isinstance(choice, dict) or choice.get("type") in _CHOICES
    return choice if is_served else "auto"


def _choice_of_word(word: object, tools: ReadTools) -> ToolChoice:
    match word:
        case None | "auto":
            return ToolChoice()
        case "none":
            return ToolChoice("none")
        case "required":
            return forced_choice(tools.functions)
    raise wrong_choice()


def _allowed(tools: ReadTools, allowed: Sequence[object]) -> ReadTools:
    """The tools whose names are listed; the prompt does not show the others."""
    names = [each.get("name", "") for each in allowed if isinstance(each, dict)]
    if not all(isinstance(name, str) for name in names):
        raise BadRequest(
            "tool_choice.tools: the name of each tool must be a text",
            param="tool_choice",
            code="invalid_value",
        )
    note = "tools that allowed_tools does not list are not shown"
    return tools._replace(
        functions=tuple(
            tool
            for tool in tools.functions
            if tool["function"]["name"] in names  # type: ignore[index]
        ),
        notes=(*tools.notes, note),
    )


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{where}.name is missing", param=f"{where}.name", code="invalid_value")
    return name


def _function(name: str, tool: Mapping[str, Any]) -> Tool:
    function: dict[str, object] = {"name": name}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    parameters = tool.get("parameters")
    function["parameters"] = NO_PARAMETERS if parameters is None else parameters
    return {"type": "function", "function": function}


def _shown_function(name: str, tool: Mapping[str, Any]) -> dict[str, object]:
    return {
        "type": "function",
        "name": name,
        "description": tool.get("description"),
        "parameters": tool.get("parameters"),
        "strict": tool.get("strict"),
    }


def _function_of_custom(name: str, tool: Mapping[str, Any]) -> Tool:
    described = [str(tool["description"])] if tool.get("description") else []
    if grammar := _grammar(tool):
        described.append(f"The input follows this grammar:\n{grammar}")
    parameters = {
        "type": "object",
        "properties": {INPUT: {"type": "string"}},
        "required": [INPUT],
        "additionalProperties": False,
    }
    function = {
        "name": name,
        "description": "\n\n".join(described),
        "parameters": parameters,
    }
    return {"type": "function", "function": function}


def _grammar(tool: Mapping[str, Any]) -> str | None:
    given = tool.get("format")
    definition = given.get("definition") if isinstance(given, dict) else None
    return definition if isinstance(definition, str) else None
