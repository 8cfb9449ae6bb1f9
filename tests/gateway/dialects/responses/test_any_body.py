"""Bodies of any shape, read without a server: each is a request or its documented error."""

import json
import time
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.responses.asked import Asked
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.dialects.responses.grouping import grouped
from gateway.dialects.responses.references import MAX_TURNS
from gateway.errors import BadRequest
from gateway.request.request import ReplyChoice, Request, ToolCall
from tests.gateway.dialects.responses.runtime_bodies import ai_sdk, codex
from tests.gateway.edge.test_decoders import VALUES
from tests.profiles import examples, per_profile

DIALECT = ResponsesDialect()
TURN = "0" * 24
KINDS = (
    *("message", "reasoning", "function_call", "function_call_output", "custom_tool_call"),
    *("custom_tool_call_output", "item_reference", "local_shell_call", "local_shell_call_output"),
    *("shell_call", "shell_call_output", "apply_patch_call", "web_search_call", "compaction"),
    *("mcp_call", "_output", "_call", "", None),
)
TEXTS = st.sampled_from(["x", "", f"msg_{TURN}_1", f"call_{TURN}_0_0", "{}", '{"input": "y"}'])
FIELDS = (
    *("role", "content", "id", "call_id", "name", "arguments", "input", "output", "summary"),
    *("encrypted_content", "action", "operation"),
)
ITEMS = st.lists(
    st.builds(
        lambda kind, fields: {"type": kind} | fields,
        st.sampled_from(KINDS),
        st.dictionaries(
            st.sampled_from(FIELDS),
            TEXTS | VALUES | st.sampled_from(["user", "assistant", "system", "developer"]),
            max_size=6,
        ),
    )
    | VALUES,
    max_size=5,
)
SHOWN = st.sampled_from(["type", "name", "tools", "mode", "format", "schema", "x"])
REPLY = ReplyChoice(
    index=0,
    content="So.",
    reasoning="Hm.",
    tool_calls=(ToolCall(f"call_{TURN}_0_0", "price", "{}", 3),),
    finish_reason="tool_calls",
)


def deep(num_levels: int) -> Any:
    value: Any = {}
    for _ in range(num_levels):
        value = {"x": value}
    return value


HUGE = 10**30
UNSHOWABLE: list[tuple[str, Any]] = [
    ("metadata", {"x": HUGE}),
    ("metadata", deep(300)),
    ("metadata", deep(253)),
    ("max_output_tokens", HUGE),
    ("max_tool_calls", HUGE),
    ("tool_choice", {"type": "allowed_tools", "tools": [], "mode": HUGE}),
    ("tool_choice", {"type": "function", "name": "f", "x": HUGE}),
    ("text", {"format": {"type": "json_schema", "schema": {}, "name": HUGE}}),
    ("tools", [{"type": "custom", "name": "g", "x": deep(252)}]),
]


def read(body: dict[str, Any]) -> Request | None:
    try:
        request = DIALECT.parse(json.dumps(body).encode(), path="/")
        if request.complete is not None:
            request = request.complete(dict.fromkeys(request.refers_to, REPLY))
    except BadRequest:
        return None
    return request


@examples(per_profile(ci=1, nightly=2))
@given(ITEMS)
def test_any_items_are_messages_or_refused(items: list[Any]) -> None:
    """Items of any type with any fields, in any order, give messages with known roles, or BadRequest."""
    request = read({"input": items})
    if request is not None:
        roles = [message["role"] for message in request.messages]
        assert set(roles) <= {"system", "user", "assistant", "tool"}
        assert len(request.prints) == len(roles) > 0
        assert all(message.get("content") is not None for message in request.messages)


@examples(per_profile(ci=1, nightly=2))
@given(st.data())
def test_any_values_are_read_or_refused(data: st.DataObject) -> None:
    """Any value in any field of what a runtime sends gives a request, or BadRequest."""
    body = dict(data.draw(st.sampled_from([codex([]), ai_sdk([])])))
    names = [*body, "previous_response_id", "top_logprobs", "max_output_tokens", "background"]
    names += ["metadata", "max_tool_calls", "text"]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
        body[name] = data.draw(VALUES | st.dictionaries(SHOWN, VALUES, max_size=3))
    request = read(body)
    if request is not None:
        assert request.prints or request.previous_reply
        assert isinstance(request.echo, Asked)
        assert orjson.dumps({"response": request.echo.shown})


@pytest.mark.parametrize(("name", "value"), UNSHOWABLE)
def test_what_no_reply_can_show_is_refused(name: str, value: Any) -> None:
    """A field that would be shown again and cannot be written is refused by name, before anything is sampled."""
    body = {"input": "Hi", "tools": [{"type": "function", "name": "f"}], name: value}
    with pytest.raises(BadRequest) as refused:
        DIALECT.parse(json.dumps(body).encode(), path="/")
    assert str(refused.value.param).startswith(name)


@pytest.mark.parametrize("value", [HUGE, deep(300)], ids=["huge", "deep"])
def test_an_input_that_cannot_be_written_is_refused(value: Any) -> None:
    """The plain text of a custom tool's call may be any value that can be written again."""
    call = {"type": "custom_tool_call", "name": "f", "call_id": "c", "input": value}
    with pytest.raises(BadRequest) as refused:
        DIALECT.parse(json.dumps({"input": [call]}).encode(), path="/")
    assert refused.value.param == "input[0].input"


@pytest.mark.parametrize("name", [["f"], {}, 1])
def test_allowed_tools_are_named_by_texts(name: Any) -> None:
    """Any other name of an allowed tool is refused."""
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"name": name}]}
    body = {"input": "Hi", "tools": [{"type": "function", "name": "f"}], "tool_choice": choice}
    with pytest.raises(BadRequest) as refused:
        DIALECT.parse(json.dumps(body).encode(), path="/")
    assert refused.value.param == "tool_choice"


@examples(per_profile(ci=1, nightly=2))
@given(st.lists(st.sampled_from(["user", "call", "result", "say", "think"]), max_size=8))
def test_items_of_one_reply_are_one_message(kinds: list[str]) -> None:
    """Whatever comes between them, items that name the same turn are one message, and no item is lost."""
    shown: dict[str, Any] = {
        "user": {"role": "user", "content": "u"},
        "call": {"type": "function_call", "id": f"fc_{TURN}_0", "call_id": "c", "name": "f"},
        "result": {"type": "function_call_output", "call_id": "c", "output": "r"},
        "say": {"role": "assistant", "id": f"msg_{TURN}_0", "content": "s"},
        "think": {"type": "reasoning", "id": f"rs_{TURN}_0", "summary": []},
    }
    request = read({"input": [{"role": "user", "content": "u"}, *(shown[kind] for kind in kinds)]})
    assert request is not None
    spoken = [m for m in request.messages if m["role"] == "assistant"]
    users = sum(kind == "user" for kind in kinds)
    assert sum(m["role"] == "user" for m in request.messages) == users + 1
    assert sum(m["role"] == "tool" for m in request.messages) == kinds.count("result")
    assert "".join(str(m["content"]) for m in spoken) == "s" * kinds.count("say")
    calls = [m.get("tool_calls") or [] for m in spoken]
    assert sum(len(each) for each in calls if isinstance(each, list)) == kinds.count("call")
    if not users:
        assert len(spoken) <= 1


def test_many_results_are_passed_over_once() -> None:
    """Calls of one turn after thousands of results are its message, in far less than a second."""
    call = {"type": "function_call", "id": f"fc_{TURN}_0"}
    result = {"type": "function_call_output"}
    items = [call, *[result] * 4_095, *[call] * 4_096]
    raws = [msgspec.Raw(msgspec.json.encode(item)) for item in items]
    began = time.thread_time()
    first, *_ = grouped(raws)
    assert time.thread_time() - began < 0.5
    assert first == [0, *range(4_096, 8_192)]


def test_a_call_names_items_of_so_many_replies() -> None:
    """Each reply that is named is read whole, so their number has a limit."""
    names = [{"type": "item_reference", "id": f"msg_{n:024x}_0"} for n in range(MAX_TURNS + 1)]
    with pytest.raises(BadRequest) as refused:
        DIALECT.parse(json.dumps({"input": names}).encode(), path="/")
    assert refused.value.code == "value_too_large"
    assert (
        len(DIALECT.parse(json.dumps({"input": names[1:]}).encode(), path="/").refers_to)
        == MAX_TURNS
    )
