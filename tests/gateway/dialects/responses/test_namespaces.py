"""Tools of namespaces, which Codex makes of MCP servers: one name each for the model, two parts for the client."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.dialects.responses.references import filled_in
from gateway.dialects.responses.response import asked_of
from gateway.errors import BadRequest
from gateway.request.request import ReplyChoice, Request, ToolCall
from tests.profiles import examples

DIALECT = ResponsesDialect()
TURN = "0" * 24
NAMES = st.text("a_", min_size=1, max_size=4)  # so that many joined names are equal
MEMBERS = st.builds(
    lambda name, kind: {"type": kind, "name": name}, NAMES, st.sampled_from(["function", "custom"])
)
NAMESPACES = st.builds(
    lambda name, tools: {"type": "namespace", "name": name, "tools": tools},
    NAMES,
    st.lists(MEMBERS, max_size=4),
)
DOCS: Any = {
    "type": "namespace",
    "name": "mcp__docs",
    "description": "All pages.",
    "tools": [
        {"type": "function", "name": "search", "description": "Finds one."},
        {"type": "custom", "name": "write"},
    ],
}
CHAT: Any = {
    "type": "namespace",
    "name": "mcp__chat",
    "tools": [{"type": "function", "name": "write"}],
}


def read(tools: Sequence[Any], items: Sequence[Any] = (), **fields: Any) -> Request:
    user = {"role": "user", "content": "Hi"}
    body = {"input": [user, *items], "tools": list(tools)} | fields
    return DIALECT.parse(json.dumps(body).encode(), path="/")


def names(request: Request) -> list[str]:
    functions: list[Any] = [tool["function"] for tool in request.tools]
    return [function["name"] for function in functions]


def calling(name: str) -> ReplyChoice:
    call = ToolCall(f"call_{TURN}_0_0", name, '{"input": "x"}', 0)
    return ReplyChoice(
        index=0, content=None, reasoning=None, tool_calls=(call,), finish_reason="tool_calls"
    )


def shown_call(request: Request, name: str) -> dict[str, Any]:
    """The item of a call that the model makes under this name."""
    reply = {f"turn_{TURN}": calling(name)}
    tools = asked_of(request).tools
    kind = "ctc" if tools[name].is_custom else "fc"
    reference = {"type": "item_reference", "id": f"{kind}_{TURN}_0_0"}
    (item,) = filled_in([msgspec.Raw(msgspec.json.encode(reference))], reply, tools=tools)
    found: dict[str, Any] = msgspec.json.decode(item)
    return found


@examples(1)
@given(st.lists(MEMBERS | NAMESPACES, max_size=6))
def test_each_tool_has_a_name_that_leads_back(tools: list[Any]) -> None:
    """Whatever tools and namespaces are called, a call under each name comes back as that name, and no two tools share one."""
    request = read(tools)
    declared = {
        (member["name"], tool["name"] if member is not tool else None, member["type"])
        for tool in tools
        for member in tool.get("tools", [tool])
    }
    calls = [shown_call(request, name) for name in names(request)]
    in_namespaces = {each for each in declared if each[1]}
    found = {
        (call["name"], call["namespace"], call["type"].removesuffix("_call").removesuffix("_tool"))
        for call in calls
        if "namespace" in call
    }
    assert found == in_namespaces
    assert {call["name"] for call in calls if "namespace" not in call} == {
        name for name, namespace, _ in declared if namespace is None
    }
    returned = [read(tools, [call]).messages[1]["tool_calls"] for call in calls]
    assert [call[0]["function"]["name"] for call in returned] == names(request)  # type: ignore[index]


def test_a_plain_function_keeps_its_name() -> None:
    """Of two tools with the same joined name, the one of the namespace gets a number, in whichever order they come."""
    plain = {"type": "function", "name": "mcp__docs__search"}
    expected = {"mcp__docs__search", "mcp__docs__search_2", "mcp__docs__write"}
    assert set(names(read([plain, DOCS]))) == set(names(read([DOCS, plain]))) == expected
    assert shown_call(read([DOCS, plain]), "mcp__docs__search")["name"] == "mcp__docs__search"


def test_a_namespace_tells_what_it_is_once() -> None:
    """Its description begins that of its first function."""
    functions: list[Any] = [tool["function"] for tool in read([DOCS]).tools]
    assert functions[0]["description"] == "All pages.\n\nFinds one."
    assert "All pages." not in functions[1]["description"]


def test_a_call_of_a_tool_that_is_gone_has_its_joined_name() -> None:
    """A history may hold calls of tools that the call no longer sends."""
    call = {"type": "function_call", "call_id": "c", "name": "list", "namespace": "mcp__x__"}
    (message,) = read([], [call]).messages[1:]
    assert message["tool_calls"][0]["function"]["name"] == "mcp__x__list"  # type: ignore[index]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "function", "name": "search"}, "mcp__docs__search"),
        ({"type": "function", "name": "mcp__docs__search"}, "mcp__docs__search"),
        ({"type": "custom", "name": "write", "namespace": "mcp__docs"}, "mcp__docs__write"),
        ({"type": "function", "name": "write", "namespace": "mcp__chat"}, "mcp__chat__write"),
        ({"type": "function", "name": "write"}, None),
        ({"type": "function", "name": "search", "namespace": "mcp__chat"}, None),
    ],
)
def test_a_choice_names_a_tool_with_or_without_its_namespace(
    choice: Any, expected: str | None
) -> None:
    """The name alone is enough where one tool has it; a name that fits several tools, or none, is refused."""
    if expected is None:
        with pytest.raises(BadRequest):
            read([DOCS, CHAT], tool_choice=choice)
    else:
        assert read([DOCS, CHAT], tool_choice=choice).tool_choice.name == expected


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        ({"type": "namespace", "name": "mcp__docs"}, ["mcp__docs__search", "mcp__docs__write"]),
        ({"type": "function", "name": "search"}, ["mcp__docs__search"]),
        ({"type": "function", "name": "write", "namespace": "mcp__chat"}, ["mcp__chat__write"]),
    ],
)
def test_a_namespace_can_be_allowed(allowed: Any, left: list[str]) -> None:
    """`allowed_tools` lists single tools, or a namespace with all of its tools."""
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [allowed]}
    assert names(read([DOCS, CHAT], tool_choice=choice)) == left


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "namespace", "tools": []}, "tools[0].name"),
        ({"type": "namespace", "name": "n"}, "tools[0].tools"),
        ({"type": "namespace", "name": "n", "tools": ["x"]}, "tools[0].tools"),
        ({"type": "namespace", "name": "n", "tools": [{}]}, "tools[0].tools[0].name"),
        (
            {
                "type": "namespace",
                "name": "n",
                "tools": [{"name": f"f{number}"} for number in range(1_025)],
            },
            "tools",
        ),
    ],
)
def test_a_wrong_namespace_is_refused_by_name(tool: Any, param: str) -> None:
    """A namespace without a name or tools, and more tools than a call may send, are refused."""
    with pytest.raises(BadRequest) as refused:
        read([tool])
    assert refused.value.param == param
