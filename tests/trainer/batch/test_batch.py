"""From claimed groups to microbatches: nothing is lost, nothing counts twice, packing changes no gradient."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.episode_records import EpisodeView
from rollout.episode.group import Claim
from rollout.episode.reward import RewardPlace, Rewards
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, Media, Output, Sampling, Turn, VersionInterval, pack_tokens
from tests.profiles import examples
from tests.trainer.headers import header
from trainer.algorithms import RunningBaseline
from trainer.batch.assembly import pack_rows
from trainer.batch.batch import Batch, prepare
from trainer.batch.episode_rows import Row, episode_rows
from trainer.batch.packing import pack
from trainer.composition.composition import Composition
from trainer.learner.errors import ImagesNotSupported
from trainer.learner.microbatch import TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner
from trainer.objective.measure import with_penalties
from trainer.objective.objective import Objective


def turn(
    name: str,
    context: Sequence[int],
    output: Sequence[int],
    *,
    anchor: Anchor | None = None,
    version: int = 0,
    temperature: float = 1.0,
) -> Turn:
    sampled = Output.sampled(
        output,
        [-0.01 * token for token in output],
        versions=[VersionInterval(version, 0, len(output))],
        finish_reason="stop",
    )
    return Turn(
        name,
        "train",
        0,
        anchor,
        pack_tokens(context),
        (sampled,),
        sampling=Sampling(temperature=temperature),
    )


def claim(
    group: str,
    rewards: Sequence[float],
    *,
    turns: Sequence[Sequence[Turn]] | None = None,
    version: int = 0,
) -> Claim:
    episodes = [
        EpisodeView(
            header(f"{group}-{index}", version),
            tuple(turns[index]) if turns else (turn(f"{group}-{index}-t", [1, 2], [3, 4 + index]),),
            Rewards({RewardPlace(None, None, "reward"): reward}),
        )
        for index, reward in enumerate(rewards)
    ]
    return Claim(group, tuple(episodes), 1)


def prepared(
    claims: Sequence[Claim], *, token_budget: int = 64, version: int = 0, **parts: Any
) -> Batch:
    return prepare(
        claims,
        parts=Composition(**parts),
        baseline=RunningBaseline(),
        training_version=version,
        token_budget=token_budget,
    )


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 60), st.integers(1, 5))
def test_packing_loses_nothing(lengths: list[int], budget: int, multiple: int) -> None:
    """Every sequence is in exactly one microbatch; none is over budget unless it is one long sequence."""
    bins = pack(lengths, token_budget=budget, multiple=multiple)
    assert sorted(index for bin_ in bins for index in bin_) == list(range(len(lengths)))
    for bin_ in bins:
        assert bin_
        assert sum(lengths[i] for i in bin_) <= budget or len(bin_) == 1
    assert len(bins) % multiple == 0 or len(bins) == len(lengths)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_microbatches_are_filled(lengths: list[int]) -> None:
    """At most one microbatch is half empty: two such would have been one."""
    loads = [sum(lengths[i] for i in bin_) for bin_ in pack(lengths, token_budget=50)]
    assert sum(load <= 25 for load in loads) <= 1


def test_an_episode_counts_once_however_many_rows_it_has() -> None:
    """An episode that branches into two rows has one reward in its group and one advantage on both rows."""
    branched = [
        turn("a", [1, 2], [3, 4]),
        turn("b", [5], [6], anchor=Anchor("a", -1, 1)),
    ]
    batch = prepared([claim("g", [1.0, 0.0], turns=[branched, [turn("c", [1, 2], [7])]])])
    expected = 0.5 / (statistics.stdev([1.0, 0.0]) + 1e-6)
    assert batch.advantages == pytest.approx([expected, -expected])
    (microbatch,) = batch.train.microbatches
    assert microbatch.num_sequences == 3
    assert batch.num_sampled_tokens == int(microbatch.action_mask.sum()) == 4
    on_mask = microbatch.advantages[microbatch.action_mask]
    assert sorted(on_mask.tolist()) == pytest.approx([-expected, expected, expected, expected])


def test_rows_without_an_advantage_stay_in_the_denominator() -> None:
    """A group that teaches nothing runs no forward pass, yet its tokens count in the token mean."""
    batch = prepared([claim("flat", [1.0, 1.0]), claim("steep", [1.0, 0.0])])
    (microbatch,) = batch.train.microbatches
    assert microbatch.num_sequences == 2
    assert batch.num_sampled_tokens == 8
    assert torch.equal(microbatch.weights, torch.where(microbatch.action_mask, 1 / 8, 0.0))
    assert batch.zero_advantage_fraction == 0.5


def test_what_reached_a_gradient_is_counted_by_episode() -> None:
    """Of two turns in one row every token counts, of a group that teaches nothing none; merging saves 4 of 13 tokens, the tree 2."""
    merged = [turn("a", [1, 2], [3, 4]), turn("b", [5], [6], anchor=Anchor("a", 0, 2))]
    steep = claim("steep", [1.0, 0.0], turns=[merged, [turn("c", [1, 2], [7])]])
    batch = prepared([steep, claim("flat", [1.0, 1.0])])
    delivered = {episode_id: given.num_tokens for episode_id, given in batch.credit.items()}
    assert delivered == {"steep-0": 3, "steep-1": 1, "flat-0": 0, "flat-1": 0}
    assert batch.num_unmerged_tokens == (4 + 6) + 3
    assert batch.train.num_row_tokens == 6 + 3
    assert batch.train.num_tokens == 6 + 1


def test_a_batch_of_equal_rewards_has_no_signal() -> None:
    """No microbatch, no advantage, has_signal false."""
    batch = prepared([claim("a", [0.1] * 7), claim("b", [1.0] * 3)])
    assert not batch.has_signal
    assert batch.train.microbatches == ()


def test_groups_of_one_use_the_running_baseline() -> None:
    """Single episodes are compared with each other and with what came before, and the baseline remembers them."""
    batch = prepared([claim("a", [1.0]), claim("b", [0.0])])
    assert batch.has_signal
    assert batch.advantages[0] == -batch.advantages[1] > 0
    assert batch.baseline.mean == 0.5
    later = prepare(
        [claim("c", [1.0])],
        parts=Composition(),
        baseline=batch.baseline,
        training_version=0,
        token_budget=64,
    )
    assert later.advantages[0] > 0


def test_tokens_keep_what_they_were_sampled_with() -> None:
    """Logprobs, versions and temperatures follow each sampled token; context has none."""
    turns = [
        turn("a", [1, 2], [10, 20], temperature=0.5),
        turn("b", [3], [30], anchor=Anchor("a", 0, 2), temperature=0.0, version=4),
    ]
    (row,) = episode_rows(Trie(turns), 1.0)
    assert row.sequence.tokens.tolist() == [1, 2, 10, 20, 3, 30]
    assert row.sequence.versions.tolist() == [-1, -1, 0, 0, -1, 4]
    assert row.temperatures.tolist() == [1.0, 1.0, 0.5, 0.5, 1.0, 1.0]
    assert row.sequence.behavior_logprobs.tolist() == pytest.approx([0, 0, -0.1, -0.2, 0, -0.3])


def test_staleness_is_that_of_the_groups_oldest_token() -> None:
    """Training version minus the smallest version in the group."""
    batch = prepared(
        [claim("a", [1.0, 0.0], version=3), claim("b", [1.0, 0.0], version=7)], version=8
    )
    assert batch.staleness == (5, 1)


def test_staleness_is_known_by_token() -> None:
    """An episode whose first turn is old and whose last is fresh says so of each sampled token."""
    turns = [
        turn("a", [1], [10, 20], version=2),
        turn("b", [3], [30], anchor=Anchor("a", 0, 2), version=7),
    ]
    batch = prepared(
        [claim("g", [1.0, 0.0], turns=[turns, [turn("c", [1], [5], version=7)]])], version=8
    )
    assert sorted(batch.token_staleness.tolist()) == [1, 1, 6, 6]


def flattened(batch: TrainBatch) -> list[tuple[int, bool, float, float]]:
    rows = []
    for m in batch.microbatches:
        columns = (m.tokens, m.action_mask, m.behavior_logprobs, m.weights)
        rows += list(zip(*(c.tolist() for c in columns), strict=True))
    return rows


@examples(0.15)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=10), st.integers(1, 40), st.integers(1, 3))
def test_microbatches_hold_every_token_once(lengths: list[int], budget: int, ranks: int) -> None:
    """Tokens, masks, logprobs and weights survive packing, whatever the budget and the ranks."""
    rows = [
        row
        for index, length in enumerate(lengths)
        for row in episode_rows(Trie([turn(f"t{index}", [index], range(2, 2 + length))]), 1.0)
    ]
    packed = flattened(pack_rows(rows, token_budget=budget, ranks=ranks))
    whole = flattened(pack_rows(rows, token_budget=10_000))
    assert sorted(packed) == sorted(whole)
    assert sum(weight for *_, weight in packed) == pytest.approx(1, abs=1e-5)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), min_size=1, max_size=12),
    st.integers(1, 80),
    st.integers(1, 3),
)
def test_trees_train_what_their_rows_train(
    episodes: list[tuple[int, int]], budget: int, ranks: int
) -> None:
    """Episodes of few prompts: each sampled token with its weight is there once, and ranks get as many microbatches as rows allow."""
    prompts = [[9, task, *[task] * (10 * task)] for task in range(3)]
    rows = [
        row
        for task, length in episodes
        for row in episode_rows(Trie([turn("t", prompts[task], range(20, 20 + length))]), 1.0)
    ]
    batch = pack_rows(rows, token_budget=budget, ranks=ranks)
    alone = pack_rows(rows, token_budget=budget, ranks=ranks, min_saving=math.inf)
    trained, expected = ([f for f in flattened(b) if f[1]] for b in (batch, alone))
    assert sorted(trained) == sorted(expected)
    assert batch.num_row_tokens == alone.num_row_tokens == alone.num_tokens >= batch.num_tokens
    assert len(batch.microbatches) % ranks == 0 or len(batch.microbatches) == len(rows)


def test_a_penalty_reaches_the_same_tokens_in_trees() -> None:
    """What the KL takes from the reward of a token changes credit alike, whether rows are packed as trees or not."""
    turns = [
        [turn("a", range(10), [20, 21 + i]), turn("b", [5], [30], anchor=Anchor("a", 0, 1))]
        for i in range(3)
    ]
    parts = Composition(kl_in_reward=0.1)
    outcomes = []
    for min_saving in (1.0, math.inf):
        batch = prepare(
            [claim("g", [1.0, 0.0, 0.5], turns=turns)],
            parts=parts,
            baseline=RunningBaseline(),
            training_version=0,
            token_budget=256,
            min_saving=min_saving,
        )
        penalties = [part.tokens.float().sin() for part in batch.train.microbatches]
        after = with_penalties(batch, penalties, parts)
        (part,) = after.train.microbatches
        trained = zip(part.tokens.tolist(), part.advantages.tolist(), strict=True)
        nonzero = sorted((token, advantage) for token, advantage in trained if advantage)
        outcomes.append((part.num_tokens, after.credit, nonzero))
    assert outcomes[0][0] < outcomes[1][0]
    assert outcomes[0][1:] == outcomes[1][1:]


@pytest.fixture(scope="module")
def learner_rows() -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index in range(9):
        length = 3 + 4 * index
        ids = torch.randint(0, 400, (length,), generator=generator).tolist()
        rows += episode_rows(
            Trie([turn(f"t{index}", ids[:2], ids[2:])]), (-1.0) ** index * (1 + index)
        )
    return rows


def test_packing_changes_no_gradient(model_dir: Path, learner_rows: list[Row]) -> None:
    """One microbatch, many, and another order of rows give the real learner the same loss and gradient norm."""
    outcomes = []
    for rows, budget in (
        (learner_rows, 10_000),
        (learner_rows, 40),
        (learner_rows[::-1], 70),
    ):
        with MegatronLearner.create(model_dir, OptimizerSettings(learning_rate=1e-3)) as learner:
            batch = pack_rows(rows, token_budget=budget)
            batch = batch.with_proximal_logprobs(learner.logprobs(batch))
            metrics = learner.step(
                batch, Objective(Composition(correction="tis", correction_high=2.0))
            )
            outcomes.append((metrics.loss, metrics.gradient_norm, metrics.sums["kl"]))
    for outcome in outcomes[1:]:
        assert outcome == pytest.approx(outcomes[0], rel=1e-5)


def test_a_sequence_with_images_is_refused() -> None:
    """Its placeholder tokens would be read as words, and the gradient would be of another prompt."""
    seen = msgspec.structs.replace(turn("t", [1, 7, 7, 2], [3]), media=(Media("abc", 1, 2),))
    with pytest.raises(ImagesNotSupported, match="turn t and what follows it show images"):
        episode_rows(Trie([seen]), 1.0)
