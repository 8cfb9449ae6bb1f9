"""The trie is a fold over the log: it is the same for any order of commits, and has each distinct token once."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from rollout.episode.sequences import linearize
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, MalformedTurn, Media, Turn
from tests.rollout.random_episodes import episodes, paths, reordered, shape
from tests.rollout.turns import output, turn


@given(episodes())
def test_every_anchor_leads_to_the_tokens_that_were_sent(turns: list[Turn]) -> None:
    """Contexts and outputs read back from the trie are those of a plain concatenation."""
    trie = Trie(turns)

    for turn_id, (context, outputs) in paths(turns).items():
        length = len(trie.turn(turn_id).context_ids)
        assert trie.tokens(Anchor(turn_id, -1, length)).tolist() == context
        for index, sampled in enumerate(outputs):
            for offset in range(len(sampled) + 1):
                read = trie.tokens(Anchor(turn_id, index, offset)).tolist()
                assert read == context + sampled[:offset]


@given(episodes(), st.integers(0, 6))
def test_what_an_engine_and_a_parser_read_of_a_place(turns: list[Turn], length: int) -> None:
    """Depth and last tokens of a place agree with its tokens."""
    trie = Trie(turns)

    for anchor in (Anchor(t.id, 0, t.outputs[0].num_tokens) for t in turns):
        tokens = trie.tokens(anchor).tolist()
        assert trie.depth(anchor) == len(tokens)
        assert trie.tail(anchor, length) == tokens[len(tokens) - min(length, len(tokens)) :]


@given(episodes())
def test_what_is_known_behind_a_place_is_not_added_again(turns: list[Turn]) -> None:
    """The longest known path has the same tokens, and a turn of the remaining tokens adds only these and its outputs."""
    trie = Trie()

    for each in turns:
        anchor, num_shared = trie.longest_prefix(each.context_ids, after=each.anchor)
        new = each.context_ids[num_shared:]
        whole = [*trie.tokens(each.anchor).tolist(), *each.context_ids.tolist()]
        assert [*trie.tokens(anchor).tolist(), *new.tolist()] == whole
        again, _ = trie.longest_prefix(new, after=anchor)
        assert again == anchor
        size = trie.num_tokens
        trie.extend(
            structs.replace(each, id=f"other {each.id}", anchor=anchor, context=new.tobytes())
        )
        assert trie.num_tokens == size + len(new) + each.num_output_tokens
        trie.extend(each)


@given(reordered())
def test_concurrent_commits_in_any_order_give_the_same_trie(
    orders: tuple[list[Turn], list[Turn]],
) -> None:
    """Folding commutes, as long as a turn comes after its anchor's turn."""
    one, other = (Trie(turns) for turns in orders)

    assert shape(one) == shape(other)
    assert one.num_tokens == other.num_tokens


@given(episodes(), st.lists(st.integers(1, 3), max_size=20))
def test_the_longest_prefix_is_the_longest(turns: list[Turn], ids: list[int]) -> None:
    """No recorded path shares more tokens with a prompt, and the anchor leads to exactly those."""
    trie = Trie(turns)
    ways = [c + o for c, outputs in paths(turns).values() for o in [[], *outputs]]

    anchor, length = trie.longest_prefix(array("i", ids))

    assert trie.tokens(anchor).tolist() == ids[:length]
    assert length == max(common(way, ids) for way in ways)


@given(episodes())
def test_folding_a_turn_twice_changes_nothing(turns: list[Turn]) -> None:
    """Adding a turn twice changes nothing: a gateway may have it in its cache and read it again."""
    trie = Trie(turns)
    before = shape(trie)

    for again in turns:
        trie.extend(again)

    assert shape(trie) == before
    assert trie.num_turns == len(turns)


def test_a_growing_conversation_stores_only_what_is_new() -> None:
    """Forty turns that each extend the last hold each token once."""
    trie = Trie()
    anchor = None
    for ordinal in range(40):
        context = [1] * (6000 if ordinal == 0 else 750)
        trie.extend(turn(f"t{ordinal}", context, output([2] * 250), anchor=anchor))
        anchor = Anchor(f"t{ordinal}", 0, 250)

    assert trie.num_tokens == 6000 + 39 * 750 + 40 * 250
    assert len(trie.tokens(anchor)) == trie.num_tokens


def test_equal_contexts_are_shared_and_equal_outputs_are_not() -> None:
    """Two calls with one prompt share it; two samples with the same tokens stay two samples."""
    trie = Trie([turn("a", [1, 2, 3], output([5, 5])), turn("b", [1, 2, 4], output([5, 5]))])

    assert trie.num_tokens == 4 + 2 + 2
    assert Trie([turn("a", [1], output([5])), turn("b", [1], output([5]))]).num_tokens == 3


def test_the_ends_of_outputs_are_found_by_their_chains() -> None:
    """A conversation's hash leads to the place where its next turn attaches."""
    trie = Trie([turn("a", [1, 2], output([5]), output([6, 7]))])

    assert trie.find("after a 1") == [Anchor("a", 1, 2)]
    assert trie.find("never heard") == []


@pytest.mark.parametrize(
    "anchor", [Anchor("nobody", 0, 0), Anchor("a", 0, 3), Anchor("a", -1, 4), Anchor("a", -1, -1)]
)
def test_an_anchor_outside_the_trie_is_an_error(anchor: Anchor) -> None:
    """A turn whose anchor is unknown is refused."""
    trie = Trie([turn("a", [1, 2, 3], output([5, 6]))])

    with pytest.raises(MalformedTurn):
        trie.extend(turn("b", [1], anchor=anchor))


def common(left: list[int], right: list[int]) -> int:
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def test_tokens_that_stand_for_different_images_are_different() -> None:
    """Prompts with the same ids share what comes before the image, and nothing from it on; the same image is shared."""
    ids = [1, 5, 5, 2]
    first = turn("a", ids, media=[Media("red", 1, 2)])
    other = turn("b", ids, media=[Media("blue", 1, 2)])
    same = turn("c", ids, media=[Media("red", 1, 2)])
    trie = Trie([first, other, same])

    assert [span.tokens.tolist() for span in trie.spans() if span.is_context] == [ids, ids[1:]]
    for turn_id, seen in (("a", "red"), ("b", "blue"), ("c", "red")):
        end = Anchor(turn_id, -1, len(ids))
        assert trie.tokens(end).tolist() == ids
        assert trie.media(end) == [Media(seen, 1, 2)]
    assert trie.longest_prefix(array("i", ids), [Media("blue", 1, 2)])[1] == 4
    assert trie.longest_prefix(array("i", ids), [Media("green", 1, 2)])[1] == 1
    assert trie.longest_prefix(array("i", ids))[1] == 1
    assert {row.media[0].digest for row in linearize(trie)} == {"red", "blue"}
