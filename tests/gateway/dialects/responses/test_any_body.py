"""Bodies of any shape, read without a server: each is a request or its documented error."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.errors import BadRequest
from gateway.request.request import ReplyChoice, Request, ToolCall
from tests.gateway.dialects.responses.runtime_bodies import ai_sdk, codex
from tests.gateway.edge.test_decoders import VALUES
from tests.profiles import examples

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
REPLY = ReplyChoice(
    index=0,
    content="So.",
    reasoning="Hm.",
    tool_calls=(ToolCall(f"call_{TURN}_0_0", "price", "{}", 3),),
    finish_reason="tool_calls",
)


def read(body: dict[str, Any]) -> Request | None:
    try:
        request = DIALECT.parse(json.dumps(body).encode(), path="/")
        if request.complete is not None:
            request = request.complete(dict.fromkeys(request.refers_to, REPLY))
    except BadRequest:
        return None
    return request


@examples(2)
@given(ITEMS)
def test_any_items_are_messages_or_refused(items: list[Any]) -> None:
    """Items of any type with any fields, in any order, give messages with known roles, or BadRequest."""
    request = read({"input": items})
    if request is not None:
        roles = [message["role"] for message in request.messages]
        assert set(roles) <= {"system", "user", "assistant", "tool"}
        assert len(request.prints) == len(roles) > 0
        assert all(message.get("content") is not None for message in request.messages)


@examples(2)
@given(st.data())
def test_any_values_are_read_or_refused(data: st.DataObject) -> None:
    """Any value in any field of what a runtime sends gives a request, or BadRequest."""
    body = dict(data.draw(st.sampled_from([codex([]), ai_sdk([])])))
    names = [*body, "previous_response_id", "top_logprobs", "max_output_tokens", "background"]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
        body[name] = data.draw(VALUES)
    request = read(body)
    assert request is None or request.prints or request.previous_reply


@examples(2)
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
