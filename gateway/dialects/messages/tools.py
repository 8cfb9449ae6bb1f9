"""Tools in Anthropic's form, and the choice between them, as templates and grammars read them."""

from collections.abc import Sequence
from typing import Any

from gateway.dialects.bodies.tools import forced_choice
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.request import ToolChoice
from gateway.request.tools import Tool, Tools

CustomTools = tuple[Tools, tuple[str, ...]]


def custom_tools(tools: Sequence[dict[str, Any]]) -> CustomTools:
    """The tools that the caller runs, and a note for each that only Anthropic's servers have."""
    own: list[Tool] = []
    notes: list[str] = []
    for i, tool in enumerate(tools):
        if tool.get("type", "custom") in ("custom", None):
            own.append(_tool(tool, f"tools[{i}]"))
        else:
            notes.append(f"tool of type {str(tool['type'])[:64]} left out")
    return Tools(own), tuple(dict.fromkeys(notes))


def tool_choice(choice: dict[str, Any] | None, tools: Sequence[Tool]) -> ToolChoice:
    """Raises BadRequest for a choice that these tools do not allow."""
    match choice:
        case None | {"type": "auto"}:
            return ToolChoice()
        case {"type": "none"}:
            return ToolChoice("none")
        case {"type": "any"}:
            return forced_choice(tools)
        case {"type": "tool", "name": str(name)} if name:
            return forced_choice(tools, name)
    raise BadRequest(
        "tool_choice.type must be auto, any, none, or tool with a name",
        param="tool_choice",
        code="invalid_value",
    )


def _tool(tool: dict[str, Any], where: str) -> Tool:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{where}.name is missing", param=where, code="invalid_value")
    json_text(tool, where)
    function: dict[str, object] = {"name": name}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    if isinstance(tool.get("input_schema"), dict):
        function["parameters"] = tool["input_schema"]
    return {"type": "function", "function": function}
