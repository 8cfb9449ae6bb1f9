"""Ids that come back name the turn that they were minted in, whatever clients make of them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request.minted_ids import (
    call_ids,
    minted_id,
    new_turn_id,
    renamed,
    turn_of,
    written_ids,
)

KINDS = ("call", "toolu", "fc", "rs", "msg", "resp", "sig", "enc")
PLACES = st.lists(st.integers(0, 999), max_size=3)


@given(st.sampled_from(KINDS), PLACES)
def test_a_minted_id_names_its_turn(kind: str, place: list[int]) -> None:
    """The turn can be read from every kind of id, also after another first word or the dialect's own text was added."""
    turn = new_turn_id()
    id_ = minted_id(kind, turn, *place)

    assert turn_of(id_) == turn_of(f"{id_}.own text") == turn_of(turn) == turn
    assert turn_of(renamed(id_, "toolu")) == turn
    assert turn_of(f"chatcmpl-{turn}") == turn_of(f"resp_{turn}") == turn


def test_calls_of_one_output_have_different_ids() -> None:
    """The calls of all outputs of a turn differ, are at most 40 characters long and are of letters, digits and _ only."""
    turn = new_turn_id()
    ids = [new_id() for new_id in (call_ids(turn, 0), call_ids(turn, 127)) for _ in range(100)]

    assert len(set(ids)) == 200
    assert max(map(len, ids)) <= 40
    assert all(id_.replace("_", "").isalnum() for id_ in ids)
    assert turn_of(ids[-1].replace("_", "")) == turn


@pytest.mark.parametrize(
    "id_",
    [
        "",
        "call_abc",
        "functions.price:0",
        "call_9pZ2kQ7xW4mN1bV8cR5tY3uE",
        "chatcmpl-tool-0123456789abcdef0123456789abcdef",
        "resp_68ad0b1c7d2c81a2b3c4d5e6f708192a3b4c5d6e7f8091a2",
        "toolu_01A09q90qw90lq917835lq9",
        "turn_" + "0" * 23,
    ],
)
def test_ids_of_others_name_no_turn(id_: str) -> None:
    """Ids that other servers or the model made up are left alone."""
    assert turn_of(id_) is None
    assert renamed(id_, "toolu") == id_


@pytest.mark.parametrize(
    "text",
    [
        ("0" * 24 + "_") * 8000 + "x",
        "0" * 200_000 + "x",
        ("call_" + "0" * 24) * 7000,
        ("call_" + "0" * 24 + " ") * 7000,
        "call_" * 40_000,
    ],
)
def test_no_text_of_a_client_takes_long(text: str) -> None:
    """200 KB that nearly is an id, or holds thousands, are read within a second; what is that long names no turn."""
    began = time.process_time()
    assert turn_of(text) is None
    found = written_ids(text)
    assert time.process_time() - began < 1
    assert len(found) < 3000


def test_what_a_dialect_adds_to_an_id_may_be_long() -> None:
    """An id names its turn with any text after its dot."""
    turn = new_turn_id()
    assert turn_of(f"{minted_id('enc', turn, 0)}.{'a' * 10_000}") == turn
