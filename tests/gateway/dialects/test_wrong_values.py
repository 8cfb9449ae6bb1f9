"""What a caller is told of a value that does not fit."""

from typing import Annotated, Literal

import msgspec
import pytest

from gateway.dialects.bodies.fields import read_body
from gateway.errors import BadRequest
from gateway.request.json_text import json_text


class Example(msgspec.Struct, forbid_unknown_fields=True):
    a: Annotated[int, msgspec.Meta(ge=0)]
    b: Literal["x", "y"] = "x"
    c: Annotated[list[int], msgspec.Meta(max_length=2)] = []
    d: str | float | None = None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "a is missing"),
        (b'{"a": 1, "z": 1}', "there is no field z"),
        (b'{"a": "1"}', "a: it must be a whole number, not text"),
        (b'{"a": -1}', "a: it must be a whole number that is at least 0"),
        (b'{"a": 1, "b": "q"}', "b: 'q' is none of the values that are allowed"),
        (b'{"a": 1, "c": [1, 2, 3]}', "c: it must be a list whose length is at most 2"),
        (b'{"a": 1, "d": []}', "d: it must be a number or text or null, not a list"),
        (b'{"a": 1, "d": 1e400}', "d: the number is too large"),
        (b"[1]", "it must be an object, not a list"),
        (b'{"a" 1}', "the body is not valid JSON: something else is expected at byte 5"),
        (b'{"a": ', "the body is not valid JSON: it ends too early"),
    ],
)
def test_a_value_is_refused_in_our_words(body: bytes, message: str) -> None:
    """They name the field, what it must be and what it is."""
    with pytest.raises(BadRequest) as refused:
        read_body(body, msgspec.json.Decoder(Example))
    assert str(refused.value) == message


@pytest.mark.parametrize("value", [2**70, "\ud800"])
def test_what_json_cannot_hold_is_refused_in_our_words(value: object) -> None:
    """The three things that can be read but not written."""
    with pytest.raises(BadRequest, match="x: it has half a character, an integer of more than"):
        json_text(value, "x")
