"""Grammars of an ordinary size pass; what would keep an engine compiling does not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.turn.grammar_limits import MAX_REPEATED, SchemaLimits, num_parts

NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
}
FINE: Any = (
    {},
    {"$defs": {"node": NODE}, "$ref": "#/$defs/node"},
    {"type": "array", "items": {"$ref": "#"}},
    {"properties": {"a/b": {"type": "string"}, "c": {"$ref": "#/properties/a~1b"}}},
    {
        "anyOf": [
            {"type": "null"},
            {"type": "string", "maxLength": 4000, "pattern": "^[a-z]{1,64}$"},
        ]
    },
    {"properties": {"kind": {"enum": [f"kind {number}" for number in range(500)]}}},
)
WRONG: Any = (
    ({"$ref": "#"}, "leads to itself"),
    ({"anyOf": [{"type": "null"}, {"$ref": "#"}]}, "leads to itself"),
    ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, "leads to itself"),
    ({"$ref": "#/$defs/none"}, "names nothing"),
    ({"$ref": "https://example.com/schema"}, "must name a part"),
    ({"$ref": 5}, "must name a part"),
    ({"enum": list(range(3000))}, "enum"),
    ({"maxLength": 10**9}, "maxLength"),
    ({"properties": {str(number): {} for number in range(6000)}}, "properties"),
    ({"pattern": "(a{500}){500}"}, "repetitions"),
)


@pytest.mark.parametrize("schema", FINE, ids=json.dumps)
def test_an_ordinary_schema_passes(schema: Any) -> None:
    """Recursive schemas, unions and long enums are all right."""
    SchemaLimits().add(schema, "schema")


@pytest.mark.parametrize(("schema", "why"), WRONG, ids=range(len(WRONG)))
def test_a_schema_that_cannot_be_compiled_is_refused(schema: Any, why: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(BadRequest, match=why):
        SchemaLimits().add(schema, "schema")


def test_the_schemas_of_a_call_count_together() -> None:
    """Several tools cannot hold together what one may not."""
    limits = SchemaLimits()
    limits.add({"enum": list(range(1500))}, "one")
    with pytest.raises(BadRequest, match="enum"):
        limits.add({"enum": list(range(1500))}, "another")


def test_parts_of_a_pattern() -> None:
    """Repetitions multiply where they are nested and add up where they are not."""
    for pattern, parts in (
        ("", 0),
        ("abc", 3),
        ("a{3}b", 4),
        ("(ab{3}){10}", 40),
        (r"[a-z(]{2}\{3", 4),
        ("a{2,}", 3),
        ("(a|b){2}{3}", 18),
    ):
        assert num_parts(pattern) == parts, pattern
    assert num_parts("(" * 50 + "a" + "{9}){9}" * 50) > MAX_REPEATED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["#", "#/a"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["$ref", "anyOf", "enum", "properties", "a", "pattern", "maxItems"]),
            inner,
        )
    ),
)


@given(JSON)
def test_any_json_is_measured(schema: Any) -> None:
    """A schema passes or is refused; nothing else happens."""
    assert refused_field(schema) in (None, "schema")


def refused_field(schema: Any) -> str | None:
    try:
        SchemaLimits().add(schema, "schema")
    except BadRequest as error:
        return error.param
    return None


@given(st.text(alphabet=r"ab()[]{}\,0129|", max_size=60))
def test_any_pattern_is_measured(pattern: str) -> None:
    """A pattern has no more parts than characters if it repeats nothing."""
    assert num_parts(pattern) >= 0
    if "{" not in pattern:
        assert num_parts(pattern) <= len(pattern)
