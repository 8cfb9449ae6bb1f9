"""Bodies whose meaning is plain are read although they are not as they should be, in every dialect."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request.mended_body import mended
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateways import Gateway
from tests.profiles import examples, per_profile
from tests.scripted_engine import ScriptedEngine

CHAT = "/v1/chat/completions"
# A path, and a body with TEXT as the user's words.
DIALECTS = (
    (CHAT, b'{"model": "policy", "messages": [{"role": "user", "content": "TEXT"}], "max_tokens": 4}'),
    ("/v1/responses", b'{"model": "policy", "input": "TEXT", "max_output_tokens": 4}'),
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("spelled", "read"),
    [
        (rb"half \ud83d of one", "half � of one"),
        (rb"\ude00 alone", "� alone"),
        (rb"\ud83d\ude00 whole", "😀 whole"),
        (rb"\\ud83d is text", r"\ud83d is text"),
        (rb"cut \ud83d", "cut �"),
    ],
)
async def test_half_of_a_character(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer, spelled: bytes, read: str
) -> None:
    """Half of an emoji, which JavaScript cuts off, is read as the character for what cannot be read."""
    for path, body in DIALECTS:
        answer = await served.admin.post(path, content=body.replace(b"TEXT", spelled))
        assert answer.status_code == 200, answer.text
        assert read in tokenizer.decode(scripted.requests[-1]["input_ids"])


@pytest.mark.parametrize(("path", "body"), DIALECTS)
async def test_what_is_no_utf_8(
    served: Gateway, scripted: ScriptedEngine, path: str, body: bytes
) -> None:
    """It is a 400, and the connection answers the next call."""
    for spelled in (b"caf\xe9", b"a\xed\xa0\xbd b", b"caf\xe9 \\ud83d"):
        answer = await served.admin.post(path, content=body.replace(b"TEXT", spelled))
        assert answer.status_code == 400, answer.text
        assert "connection" not in answer.headers
    assert scripted.requests == []
    assert (await served.admin.post(path, content=body)).status_code == 200


@pytest.mark.parametrize(("path", "body"), DIALECTS)
async def test_whole_numbers_and_a_byte_order_mark(
    served: Gateway, scripted: ScriptedEngine, path: str, body: bytes
) -> None:
    """A count of 4.0 is 4, one of 4.5 is not; a byte-order mark is passed over."""
    answer = await served.admin.post(path, content=b"\xef\xbb\xbf" + body.replace(b" 4}", b" 4.0}"))
    assert answer.status_code == 200, answer.text
    assert scripted.requests[0]["sampling_params"]["max_new_tokens"] == 4
    refused = await served.admin.post(path, content=body.replace(b" 4}", b" 4.5}"))
    assert refused.status_code == 400
    assert "tokens" in refused.json()["error"]["param"]


@examples(2)
@given(before=st.binary())
def test_what_is_no_text_is_not_mended(before: bytes) -> None:
    """The name of a field may hold a byte that is part of no character; the refusal that follows says so."""
    assert mended(b'{"%b\xff": 8.0}' % before) is None


@examples(per_profile(ci=0.5, nightly=2))
@given(body=st.dictionaries(st.text(), VALUES), spaced=st.booleans())
def test_a_correct_body_is_not_mended(body: dict[str, Any], spaced: bool) -> None:
    """Only whole numbers of the body itself are written otherwise, and the value stays equal."""
    text = json.dumps(body, separators=None if spaced else (",", ":")).encode()
    again = mended(text)
    assert json.loads(again or text) == body
    assert (again is None) or any(isinstance(each, float) for each in body.values())
