"""What a caller may send, read without a server: each decoder gives a value or its documented error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gateway.access.api_keys import EPISODE_PREFIX, Claim, read_signed_key, signed_key
from gateway.api import requests
from gateway.dialects.chat.dialect import ChatDialect
from gateway.errors import BadRequest
from gateway.request.request import Request
from tests.gateway.edge.fuzzed_requests import CHAT, FULL_CHAT, IMAGE, SCHEMA
from tests.profiles import examples, per_profile

MODELS = [
    kind
    for kind in vars(requests).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**30, 1e308, "\ud800", "\u0000", "a" * 5000, -1, 2**63]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
DIALECT = ChatDialect()
TOOL_CHAT: Any = FULL_CHAT | {"response_format": SCHEMA}
SEEING: Any = {"messages": [{"role": "user", "content": [IMAGE, {"type": "text", "text": "x"}]}]}


def read_chat(body: bytes) -> Request | None:
    try:
        return DIALECT.parse(body, path="/")
    except BadRequest:
        return None


@examples(per_profile(ci=2, nightly=4))
@given(st.data())
def test_a_chat_body_with_any_values_is_read_or_refused(data: st.DataObject) -> None:
    """Any value in any field gives a request of at least one message, or BadRequest."""
    body = dict(data.draw(st.sampled_from([CHAT, FULL_CHAT, TOOL_CHAT, CHAT | SEEING])))
    for name in data.draw(st.lists(st.sampled_from(sorted(FULL_CHAT)), min_size=1, max_size=3)):
        body[name] = data.draw(VALUES)
    request = read_chat(json.dumps(body).encode())
    assert request is None or len(request.messages) >= 1


@examples(per_profile(ci=2, nightly=4))
@given(VALUES, VALUES, VALUES, VALUES)
def test_a_message_with_any_values_is_read_or_refused(
    role: Any, content: Any, calls: Any, reasoning: Any
) -> None:
    """Whatever the fields of a message hold, reading it is a message or BadRequest."""
    fields = {"role": role, "content": content, "tool_calls": calls, "reasoning": reasoning}
    for given_role in (role, "assistant", "user", "tool"):
        message = fields | {"role": given_role}
        request = read_chat(json.dumps({"messages": [message]}).encode())
        assert request is None or request.messages[0]["role"] in (
            "system",
            "user",
            "assistant",
            "tool",
        )


@examples(per_profile(ci=2, nightly=4))
@given(st.binary(max_size=4), st.integers(0, 1000), st.integers(0, 3))
def test_damaged_bytes_of_a_chat_body_are_read_or_refused(
    inserted: bytes, place: int, cut: int
) -> None:
    """Bytes that are changed, added or lost never raise anything but BadRequest."""
    whole = json.dumps(TOOL_CHAT, ensure_ascii=False).encode()
    place %= len(whole)
    request = read_chat(whole[:place] + inserted + whole[place + cut :])
    assert request is None or request.num_outputs >= 1


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_a_control_body_with_any_values_is_read_or_refused(kind: type[BaseModel]) -> None:
    """Pydantic's models raise ValidationError and nothing else."""

    @examples(1)
    @given(st.dictionaries(st.sampled_from([*kind.model_fields, "x"]), VALUES) | VALUES)
    def reads(value: Any) -> None:
        try:
            read: BaseModel | None = kind.model_validate(value)
        except ValidationError:
            read = None
        assert read is None or isinstance(read, kind)

    reads()


@examples(per_profile(ci=2, nightly=4))
@given(
    st.text(max_size=40) | st.text(alphabet="tg-ep.=_/AZaz09", max_size=60).map("tg-ep-".__add__)
)
def test_any_text_is_an_episode_key_or_none(text: str) -> None:
    """A key that was not made here is None or a claim whose signature is checked later."""
    claim = read_signed_key(text)
    assert claim is None or isinstance(claim, Claim)
    made = read_signed_key(
        signed_key(EPISODE_PREFIX, "p", subject="ep_1", opener_id="key_1", secret="s" * 32)
    )
    assert made is not None
    assert (made.project, made.subject) == ("p", "ep_1")
