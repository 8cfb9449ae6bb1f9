"""The JSON of recorded tokens is that of the tokens, whatever of it is remembered."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.attach.encoded_prefixes import MAX_PREFIXES, PIECE_BYTES, EncodedPrefixes
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, Turn
from tests.rollout.random_episodes import episodes
from tests.rollout.turns import output, turn


@given(episodes(), st.data())
def test_the_json_of_any_place_is_that_of_its_tokens(
    turns: list[Turn], data: st.DataObject
) -> None:
    """Places are asked for in any order, several times, inside and at the ends of outputs."""
    trie, prefixes = Trie(turns), EncodedPrefixes()
    ends = [
        Anchor(each.id, 0, offset)
        for each in turns
        for offset in range(each.outputs[0].num_tokens + 1)
    ]
    for anchor in data.draw(st.lists(st.sampled_from(ends), max_size=20)):
        encoded = b",".join(prefixes.pieces(trie, anchor))
        assert orjson.loads(b"[%b]" % encoded) == trie.tokens(anchor).tolist()
    assert prefixes.pieces(trie, None) == []


def test_one_json_is_kept_for_each_path() -> None:
    """A path that goes on replaces what it continues; of many paths the latest few are kept."""
    trie, prefixes = Trie(), EncodedPrefixes()
    end = None
    for number in range(10):
        trie.extend(turn(f"t{number}", [number, 7], output([5, 6]), anchor=end))
        end = Anchor(f"t{number}", 0, 2)
        assert sum(map(len, prefixes.pieces(trie, end))) == prefixes.num_bytes

    trie, prefixes = Trie(), EncodedPrefixes()
    for number in range(3 * MAX_PREFIXES):
        trie.extend(turn(f"t{number}", [10 + number], output([5, 6])))
        prefixes.pieces(trie, Anchor(f"t{number}", 0, 2))
    assert prefixes.num_bytes == MAX_PREFIXES * len(b"10,5,6")


def test_a_long_text_is_kept_in_pieces() -> None:
    """A turn of a long conversation copies no more than one piece of what is remembered."""
    trie, prefixes = Trie(), EncodedPrefixes()
    end = None
    for number in range(100):
        trie.extend(turn(f"t{number}", [100_000 + number] * 700, output([5, 6]), anchor=end))
        end = Anchor(f"t{number}", 0, 2)
        before = (
            set(map(id, prefixes.pieces(trie, Anchor(f"t{number - 1}", 0, 2)))) if number else set()
        )
        pieces = prefixes.pieces(trie, end)
        assert len(before.difference(map(id, pieces))) <= 1
    assert max(map(len, pieces)) < PIECE_BYTES
    assert len(b",".join(pieces)) > 10 * PIECE_BYTES
