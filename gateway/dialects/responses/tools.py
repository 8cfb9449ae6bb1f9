"""Tools of a Responses call as functions, which is what templates show and parsers read.

A custom tool takes plain text: it becomes a function with one argument, `input`. The tools of a namespace become functions
whose names begin with it. Tools that OpenAI runs itself are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gateway.dialects.bodies.fields import check_length
from gateway.dialects.bodies.limits import MAX_TOOLS
from gateway.dialects.responses.namespaces import CalledTool, KnownTools, known_tools
from gateway.errors import BadRequest
from gateway.request.json_text import json_text
from gateway.request.tools import Tool, Tools

INPUT = "input"  # the argument of a custom tool
NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}


class ReadTools(NamedTuple):
    functions: Tools
    known: KnownTools
    shown: tuple[dict[str, object], ...]  # those that are in effect, in the form of Responses
    notes: tuple[str, ...] = ()


class _Served(NamedTuple):
    """A tool that the model may call."""

    called: CalledTool
    tool: Mapping[str, Any]
    about: str = ""  # what its namespace says of itself, at the first of its tools


def read_tools(given: Sequence[dict[str, Any]]) -> ReadTools:
    """Raises BadRequest for a tool without a name."""
    every: list[_Served] = []
    shown: list[dict[str, object]] = []
    notes: list[str] = []
    for place, tool in enumerate(given):
        where = f"tools[{place}]"
        served = list(_served(tool, where, notes))
        if served:
            json_text([[[tool]]], where)  # as deep as in an event: {"response": {"tools": [tool]}}
            shown.append(_shown(tool, served))
            every += served
    check_length(every, MAX_TOOLS, "tools")
    known = known_tools([each.called for each in every])
    names = {called: name for name, called in known.items()}
    functions = Tools(_function(names.get(each.called, each.called.name), each) for each in every)
    return ReadTools(functions, known, tuple(shown), tuple(notes))


def _served(tool: Mapping[str, Any], where: str, notes: list[str]) -> Iterator[_Served]:
    """The tool itself, or those of a namespace. Notes what is left out of it."""
    if tool.get("type") != "namespace":
        if called := _called(tool, where, notes):
            yield _Served(called, tool)
        return
    namespace, about = _name(tool, where), _text(tool.get("description"))
    members = tool.get("tools")
    if not isinstance(members, list) or not all(isinstance(each, dict) for each in members):
        field = f"{where}.tools"
        raise BadRequest(f"{field} must be a list of objects", param=field, code="invalid_value")
    if not members:
        notes.append(f"the namespace {namespace[:64]} holds no tool")
    for place, member in enumerate(members):
        if called := _called(member, f"{where}.tools[{place}]", notes):
            yield _Served(called._replace(namespace=namespace), member, about)
            about = ""


def _called(tool: Mapping[str, Any], where: str, notes: list[str]) -> CalledTool | None:
    kind = tool.get("type", "function")
    if kind not in ("function", "custom"):
        notes.append(f"a tool of type {str(kind)[:64]} is left out")
        return None
    name = _name(tool, where)
    if kind == "custom" and _grammar(tool):
        notes.append(f"the grammar of the custom tool {name} is shown and not enforced")
    return CalledTool(name, is_custom=kind == "custom")


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(f"{where}.name is missing", param=f"{where}.name", code="invalid_value")
    return name


def _text(given: object) -> str:
    return str(given) if given else ""


def _function(name: str, served: _Served) -> Tool:
    return {
        "type": "function",
        "function": _custom(name, served) if served.called.is_custom else _plain(name, served),
    }


def _plain(name: str, served: _Served) -> dict[str, object]:
    function: dict[str, object] = {"name": name}
    described = served.tool.get("description")
    if served.about:
        described = "\n\n".join(filter(None, (served.about, _text(described))))
    if described is not None:
        function["description"] = described
    parameters = served.tool.get("parameters")
    function["parameters"] = NO_PARAMETERS if parameters is None else parameters
    return function


def _custom(name: str, served: _Served) -> dict[str, object]:
    described = [served.about, _text(served.tool.get("description"))]
    if grammar := _grammar(served.tool):
        described.append(f"The input follows this grammar:\n{grammar}")
    return {
        "name": name,
        "description": "\n\n".join(filter(None, described)),
        "parameters": {
            "type": "object",
            "properties": {INPUT: {"type": "string"}},
            "required": [INPUT],
            "additionalProperties": False,
        },
    }


def _shown(tool: Mapping[str, Any], served: Sequence[_Served]) -> dict[str, object]:
    """The tool as a reply shows it."""
    if tool.get("type") != "namespace":
        return _shown_member(served[0])
    name = served[0].called.namespace
    return {
        "type": "namespace",
        "name": name,
        "description": tool.get("description") or f"Tools of {name}.",
        "tools": [_shown_member(each) for each in served],
    }


def _shown_member(served: _Served) -> dict[str, object]:
    name, tool = served.called.name, served.tool
    if served.called.is_custom:
        return {"type": "custom", "name": name} | dict(tool)
    return {
        "type": "function",
        "name": name,
        "description": tool.get("description"),
        "parameters": tool.get("parameters"),
        "strict": tool.get("strict"),
    }


def _grammar(tool: Mapping[str, Any]) -> str | None:
    given = tool.get("format")
    definition = given.get("definition") if isinstance(given, dict) else None
    return definition if isinstance(definition, str) else None
