"""Which tools a Responses call leaves the model, and whether it must call one."""

from collections.abc import Sequence
from typing import Any

from gateway.dialects.bodies.tools import forced_choice, wrong_choice
from gateway.dialects.responses.namespaces import KnownTools, known_name
from gateway.dialects.responses.tools import ReadTools
from gateway.errors import BadRequest
from gateway.request.request import ToolChoice
from gateway.request.tools import Tools

_CHOICES = ("function", "custom", "allowed_tools")


def read_choice(
    choice: str | dict[str, Any] | None, tools: ReadTools
) -> tuple[ToolChoice, ReadTools]:
    """The choice, and the tools that it leaves. Raises BadRequest."""
    if choice is None or isinstance(choice, str):
        return _choice_of_word(choice, tools), tools
    match choice:
        case {"type": "function" | "custom", "name": name}:
            known = known_name(tools.known, name=name, namespace=choice.get("namespace"))
            return forced_choice(tools.functions, known or str(name)), tools
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
    """The tools that are listed; the prompt does not show the others."""
    names = {name for each in allowed if isinstance(each, dict) for name in _names(each, tools)}
    note = "tools that allowed_tools does not list are not shown"
    return tools._replace(
        functions=Tools(
            tool
            for tool in tools.functions
            if tool["function"]["name"] in names  # type: ignore[index]
        ),
        notes=(*tools.notes, note),
    )


def _names(each: dict[str, Any], tools: ReadTools) -> Sequence[str]:
    """What the model calls the tool, or each tool of a namespace."""
    name = each.get("name", "")
    if not isinstance(name, str):
        raise BadRequest(
            "tool_choice.tools: the name of each tool must be a text",
            param="tool_choice",
            code="invalid_value",
        )
    if each.get("type") == "namespace":
        return _names_in(tools.known, name)
    known = known_name(tools.known, name=name, namespace=each.get("namespace"))
    return [known] if known else []


def _names_in(known: KnownTools, namespace: str) -> Sequence[str]:
    return [name for name, tool in known.items() if tool.namespace == namespace]
