"""Who gets the credit: advantages by token along turns, branches and states, against plain Python."""

import statistics
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given

from rollout.episode.episode_status import DiscardReason
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, OutputFlags, Turn
from tests.rollout.random_episodes import episodes
from tests.trainer.batch.test_batch import claim, turn
from tests.trainer.batch.test_batch import prepared as prepared_claims
from tests.trainer.papers import Game, Values, by_turn, gigpo, penalties, to_come
from tests.trainer.plays import PLAYS, behavior, prepared
from trainer.batch.batch import Batch
from trainer.batch.episode_rows import episode_paths, episode_rows
from trainer.composition.composition import Composition
from trainer.objective.measure import kl_penalties, step_mask, with_penalties

TOKENS = [token for play in PLAYS for token in play.tokens]
REFERENCE = {token: behavior(token) - 0.01 * (token % 7) for token in TOKENS}
GAME = Game(PLAYS, {token: behavior(token) for token in TOKENS}, {}, REFERENCE)


def advantages(batch: Batch) -> Values:
    return {
        int(token): float(advantage)
        for row in batch.rows
        for token, advantage, mask in zip(
            row.sequence.tokens, row.advantages, row.sequence.action_mask, strict=True
        )
        if mask
    }


def with_logprobs(batch: Batch, **logprobs: Values) -> Batch:
    """Measured by policies that are written down, by the field they fill."""
    train = batch.train
    for field, values in logprobs.items():
        tensors = [
            torch.tensor([values.get(token, 0.0) for token in part.tokens.tolist()])
            for part in train.microbatches
        ]
        train = train.replace(field, tensors)
    return replace(batch, train=train)


def test_turns_get_what_comes_after_them() -> None:
    """turn_discount: each output has the discounted rewards of its path, a shared one the mean over its paths."""
    batch = prepared(
        Composition(advantage="reinforce", turn_credit="turn_discount", turn_discount=0.5)
    )

    expected = by_turn(GAME)
    assert advantages(batch) == pytest.approx(expected)
    assert expected[110] == (0.0 + 0.5 * 0.5) / 2  # one branch earns nothing, the other 0.5


def test_tokens_get_what_comes_after_them() -> None:
    """discount: returns fall by it per sampled token, and what was not sampled is stepped over."""
    batch = prepared(Composition(advantage="reinforce", discount=0.9))

    expected = to_come(GAME, dict.fromkeys(TOKENS, 0.0), discount=0.9)
    assert advantages(batch) == pytest.approx(expected)


def test_turns_that_saw_the_same_are_compared() -> None:
    """gigpo: the episode's advantage plus the distance from the mean of all visits to the state."""
    assert advantages(prepared(Composition(turn_credit="gigpo"))) == pytest.approx(gigpo(GAME))


def test_a_state_is_what_was_shown_however_it_is_stored() -> None:
    """A repeated prompt, of which nothing is stored anew, and one that begins like another are the states that they show."""
    first = turn("a", [53, 54], [100])
    again = turn("b", [], [101], anchor=Anchor("a", -1, 2))
    alike = turn("c", [55], [102], anchor=Anchor("a", -1, 1))
    other = [turn("d", [53, 54], [110]), turn("e", [53, 55], [111])]
    parts = {"advantage": "dr_grpo", "turn_credit": "gigpo"}
    batch = prepared_claims([claim("g", [1.0, 0.0], turns=[[first, again, alike], other])], **parts)

    assert advantages(batch) == pytest.approx(
        {100: 0.5 + 1 / 3, 101: 0.5 + 1 / 3, 102: 0.5 + 1 / 2, 110: -0.5 - 2 / 3, 111: -0.5 - 1 / 2}
    )


@pytest.mark.parametrize("token_budget", [8, 999])
def test_a_kl_in_the_reward_reaches_back_in_any_packing(token_budget: int) -> None:
    """Each token's penalty is taken from the returns of all before it on its path, whatever the microbatches."""
    parts = Composition(
        advantage="reinforce", proximal="behavior", correction="none", kl_in_reward=0.1
    )
    batch = with_logprobs(prepared(parts, token_budget), reference_logprobs=REFERENCE)
    batch = with_penalties(batch, kl_penalties(batch.train, parts), parts)

    expected = pytest.approx(to_come(GAME, penalties(GAME, 0.1)), abs=1e-6)
    assert advantages(batch) == expected
    in_microbatches = {
        int(token): float(value)
        for part in batch.train.microbatches
        for token, value, mask in zip(part.tokens, part.advantages, part.action_mask, strict=True)
        if mask
    }
    assert in_microbatches == expected


@pytest.mark.parametrize("token_budget", [8, 40, 999])
def test_m2po_judges_the_whole_batch(token_budget: int) -> None:
    """The tokens kept are the same whatever the microbatches: the second moment is that of all."""
    parts = Composition(
        policy_loss="m2po", m2po_threshold=0.02, proximal="behavior", correction="none"
    )
    measured = {token: behavior(token) + 0.05 * (token % 9) for token in TOKENS}
    train = with_logprobs(prepared(parts, token_budget), proximal_logprobs=measured).train
    current = [part.proximal_logprobs for part in train.microbatches]

    kept_by = step_mask(train, current, parts)

    kept = sorted(
        int(token)
        for part, keeps in zip(train.microbatches, kept_by, strict=True)
        for token in part.tokens[keeps]
    )

    moments = sorted((0.05 * (token % 9)) ** 2 for token in TOKENS)
    most = max(n for n in range(1, 1 + len(moments)) if sum(moments[:n]) / n < 0.02)
    assert len(kept) == most < len(TOKENS)
    dropped = set(TOKENS) - set(kept)
    assert max(token % 9 for token in kept) <= min(token % 9 for token in dropped)


def cut(turns: list[Turn]) -> list[Turn]:
    """The same, the last output ended by a length limit."""
    (output,) = turns[-1].outputs
    truncated = msgspec.structs.replace(output, flags=int(OutputFlags.TRUNCATED))
    return [*turns[:-1], msgspec.structs.replace(turns[-1], outputs=(truncated,))]


def test_overlong_filtering_leaves_cut_rows_out_of_the_loss_alone() -> None:
    """A row that was cut by length trains nothing and is in no denominator; its reward counts in its group."""
    long, short = [turn("a", [1], [5, 6, 7])], [turn("b", [1], [8, 9])]
    batch = prepared_claims([claim("g", [1.0, 0.0], turns=[cut(long), short])], overlong="filter")

    (part,) = batch.train.microbatches
    assert part.tokens.tolist() == [1, 8, 9]
    assert part.weights.tolist() == [0, 0.5, 0.5]
    deviation = statistics.stdev([1.0, 0.0]) + 1e-6
    assert part.advantages.tolist() == pytest.approx([0, -0.5 / deviation, -0.5 / deviation])
    assert [given.left_out for given in batch.credit.values()] == [DiscardReason.OVERLONG, None]


def test_a_batch_of_cut_rows_has_no_signal() -> None:
    """Where filtering leaves nothing there is nothing to train."""
    rows = [cut([turn("a", [1], [5])]), cut([turn("b", [1], [6])])]
    assert not prepared_claims([claim("g", [1.0, 0.0], turns=rows)], overlong="filter").has_signal


def test_long_episodes_lose_reward() -> None:
    """The soft penalty is by sampled tokens and is taken before the group is compared."""
    turns = [[turn("a", [1], range(5, 5 + length))] for length in (2, 8)]
    batch = prepared_claims(
        [claim("g", [1.0, 1.0], turns=turns)],
        advantage="dr_grpo",
        overlong="soft",
        overlong_length=10,
        overlong_cache=4,
    )
    assert batch.advantages == pytest.approx((0.25, -0.25))
    assert batch.rewards == (1.0, 1.0)


def test_rewards_are_scaled_then_cut() -> None:
    """clip(scale * r, low, high), before the group is compared."""
    shaping = {"reward_scale": 2.0, "reward_low": -1.0, "reward_high": 1.0}
    batch = prepared_claims([claim("g", [5.0, -5.0])], advantage="dr_grpo", **shaping)
    assert batch.advantages == (1.0, -1.0)


@given(episodes())
def test_paths_number_the_tokens_of_the_rows(turns: list[Turn]) -> None:
    """Every token that trains is on a path, those of a row in the row's own order, and has the output it came from."""
    trie = Trie(turns)
    rows, found = episode_rows(trie, 1.0), episode_paths(trie)

    assert len(found.paths) == len(rows)
    assert len(found.outputs) == sum(row.num_sampled for row in rows)
    first = 0
    for row, path in zip(rows, found.paths, strict=True):
        own = range(first, first + row.num_sampled)
        first += row.num_sampled
        assert path[np.isin(path, own)].tolist() == list(own)
        assert path.max(initial=-1) < first
        of = [found.spans[found.outputs[number]].turn for number in own]
        assert of == row.sequence.turns[row.sequence.action_mask].tolist()
