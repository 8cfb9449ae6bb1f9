"""Tools of a namespace under one name each, which is all that templates show and models write.

    {"type": "namespace", "name": "mcp__docs", "tools": [{"name": "search"}]}  <->  mcp__docs__search

Codex groups the tools of an MCP server in this way, and answers only calls that name both parts.
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

import msgspec

MARK = b'"namespace"'  # in every body that has one


class CalledTool(NamedTuple):
    """How a call of a tool is shown to the client."""

    name: str
    namespace: str | None = None
    is_custom: bool = False


KnownTools = Mapping[str, CalledTool]  # by the names that the model knows


class _Call(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    namespace: str | None = None


_call_decoder = msgspec.json.Decoder(_Call)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def known_tools(tools: Sequence[CalledTool]) -> KnownTools:
    """A name for each tool. Tools without a namespace keep theirs; a joined name that is taken gets a number."""
    known = {tool.name: tool for tool in tools if tool.namespace is None}
    for tool in dict.fromkeys(tools):
        if tool.namespace is not None:
            joined = joined_name(tool.namespace, tool.name)
            names = (joined if number == 1 else f"{joined}_{number}" for number in count(1))
            known[next(name for name in names if name not in known)] = tool
    return known


def joined_name(namespace: str, name: str) -> str:
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def known_name(tools: KnownTools, *, name: object, namespace: object) -> str | None:
    """What the model calls the tool that a client names; the namespace may be left out where one tool has the name."""
    if namespace is None and isinstance(name, str) and name in tools:
        return name
    found = [
        known
        for known, tool in tools.items()
        if tool.name == name and namespace in (None, tool.namespace)
    ]
    return found[0] if len(found) == 1 else None


def with_known_names(items: Sequence[msgspec.Raw], tools: KnownTools) -> list[msgspec.Raw]:
    """The items, in which calls of a namespace's tools have the names that the model knows."""
    names = {tool: known for known, tool in tools.items()}
    return [_renamed(item, names) if MARK in bytes(item) else item for item in items]


def _renamed(item: msgspec.Raw, names: Mapping[CalledTool, str]) -> msgspec.Raw:
    try:
        call = _call_decoder.decode(item)
        fields: dict[str, object] = dict(_fields_decoder.decode(item))
    except msgspec.MsgspecError:  # whoever reads the item says what is wrong
        return item
    is_call = call.type in ("function_call", "custom_tool_call")
    if not (is_call and call.name and call.namespace):
        return item
    tool = CalledTool(call.name, call.namespace, call.type == "custom_tool_call")
    del fields["namespace"]
    fields["name"] = names.get(tool) or joined_name(call.namespace, call.name)
    return msgspec.Raw(msgspec.json.encode(fields))
