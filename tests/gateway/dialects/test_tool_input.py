"""A call's arguments as the input of a `tool_use` block: always an object, in pieces too, and back without loss."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from jiter import from_json

from gateway.dialects.messages.tool_input import ToolInput, arguments_of, input_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def arguments(draw: st.DrawFn) -> str:
    """JSON, mostly of objects, with something odd inside, and cut."""
    value: Any = draw(st.dictionaries(st.text(max_size=3), VALUES, max_size=3) | VALUES)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    place = draw(st.integers(0, len(text)))
    odd = draw(st.sampled_from(("", "", '"', "\\", "\\ud800", "}", "]", ",", ":", "1", "n", "{")))
    return (text[:place] + odd + text[place:])[: draw(st.integers(0, 300))]


@given(arguments(), st.lists(st.integers(1, 7), min_size=1, max_size=4))
def test_arguments_survive_as_an_object(text: str, sizes: list[int]) -> None:
    """However they are cut, the pieces join to the whole's object, any beginning of it can be read, and the arguments come back."""
    writer, rest, number = ToolInput(), text, 0
    sent = ""
    while rest:
        size = sizes[number % len(sizes)]
        sent += writer.feed(rest[:size])
        rest, number = rest[size:], number + 1
        if sent:
            from_json(sent.encode(), partial_mode=True)
    sent += writer.finish()
    assert (sent or "{}").encode() == input_of(text)
    made = json.loads(sent or "{}")
    assert isinstance(made, dict)
    back = arguments_of(made)
    if not text.strip():
        assert back == {}
    elif isinstance(back, dict):
        assert back == json.loads(text)
    else:
        assert back == text


def test_a_whole_object_goes_out_as_it_is_written() -> None:
    """Valid arguments keep their spelling; broken, cut and foreign ones are closed and carry what was written."""
    examples = {
        '{"a": 12345678901234567890123, "a": 1.50}': '{"a": 12345678901234567890123, "a": 1.50}',
        r'{"\u0': r'{"":null,"_raw_arguments":"{\"\\u0"}',
        '{"a": nope': r'{"a": null,"_raw_arguments":"{\"a\": nope"}',
        '{"a": ["b': r'{"a": ["b"],"_raw_arguments":"{\"a\": [\"b"}',
        '{"a": 1} {': r'{"a": 1,"_raw_arguments":"{\"a\": 1} {"}',
        "[1, 2]": '{"_raw_arguments":"[1, 2]"}',
        "melon": '{"_raw_arguments":"melon"}',
        "": "{}",
    }
    assert {text: input_of(text).decode() for text in examples} == examples
