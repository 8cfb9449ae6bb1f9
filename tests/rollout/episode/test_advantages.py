"""Advantages come back from the store as training used them, token by token."""

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.advantages import pack_advantages, unpack_advantages
from rollout.episode.sequences import linearize
from rollout.episode.trie import Trie
from rollout.episode.turn import Turn
from tests.rollout.random_episodes import episodes
from tests.rollout.turns import output, turn


@given(episodes(), st.randoms(use_true_random=False))
def test_every_token_keeps_its_own_advantage(turns: list[Turn], random: Random) -> None:
    """Per-token advantages survive packing to the bit, and what does not train has none."""
    rows = linearize(Trie(turns))
    given_ = [
        np.array([random.uniform(-1, 1) for _ in range(row.action_mask.sum())], np.float32)
        for row in rows
    ]

    spread = unpack_advantages(pack_advantages(given_), rows)

    for row, values, entry in zip(rows, given_, spread, strict=True):
        assert entry[row.action_mask].tolist() == values.tolist()
        assert not entry[~row.action_mask].any()


def test_one_advantage_for_all_tokens_takes_four_bytes() -> None:
    """An episode-level advantage is stored once, however many tokens and rows it covers."""
    turns = [turn("a", [1], output([2] * 500)), turn("b", [3], output([4] * 500))]
    rows = linearize(Trie(turns))

    packed = pack_advantages(np.full(500, -0.3, np.float32) for _ in rows)
    spread = unpack_advantages(packed, rows)

    assert len(packed) == 4
    assert [entry.sum() for entry in spread] == [np.full(500, -0.3, np.float32).sum()] * 2
