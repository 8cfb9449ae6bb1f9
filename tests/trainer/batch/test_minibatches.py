"""Several optimizer steps per batch: what each consumes, what they add up to, and what becomes of one that fails."""

import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainer.bandit import is_even, success, weights
from tests.trainer.batch.test_batch import claim, turn
from tests.trainer.batch.test_batch import prepared as prepared_claims
from tests.trainer.plays import PLAYS, claims, prepared
from tests.trainer.stand import GROUPS, Place, Stand
from trainer.algorithms import RunningBaseline, m2po_mask
from trainer.batch.assembly import assemble, microbatch_rows
from trainer.batch.minibatches import divide
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.learner.paths import MIN_SAVING
from trainer.megatron.learner import MegatronLearner
from trainer.objective.measure import measure
from trainer.objective.objective import Objective
from trainer.objective.steps import take_steps
from trainer.publish.checkpoints import Checkpoints

FOUR = Composition(minibatches=4)


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    return Place(redis_url, tmp_path, model_dir)


def evenness(token: int) -> float:
    return float(is_even(token))


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2)), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 5),
)
def test_groups_are_divided_whole_and_evenly(
    groups: list[list[tuple[int, int]]], minibatches: int
) -> None:
    """Each row goes to one minibatch with its whole group; none is ahead of another by more than one group; those that teach spread."""
    drawn = [
        claim(
            f"g{index}",
            [float(reward) for _, reward in members],
            turns=[[turn("t", [1, 2], [3] * length)] for length, _ in members],
        )
        for index, members in enumerate(groups)
    ]
    parts = Composition(minibatches=minibatches)
    rows = prepared_claims(drawn).rows

    shares = divide(rows, parts)

    assert sorted(number for share in shares for number in share) == list(range(len(rows)))
    owners = [{row.group for row in share.values()} for share in shares]
    assert sum(map(len, owners)) == len(groups)
    loads = [sum(row.num_sampled for row in share.values()) for share in shares]
    sizes = [sum(length for length, _ in members) for members in groups]
    assert max(loads) - min(loads) <= max(sizes, default=0)
    teaching = {row.group for row in rows if row.has_signal}
    assert sum(bool(own & teaching) for own in owners) == min(len(teaching), minibatches)


@pytest.mark.parametrize("token_budget", [8, 16, 999])
def test_one_minibatch_is_the_whole_batch(token_budget: int) -> None:
    """Without a split the microbatches are bit for bit those of all rows together."""
    parts = Composition()
    batch = prepared(parts, token_budget)
    rows = dict(enumerate(batch.rows))
    bins = microbatch_rows(
        rows, parts=parts, token_budget=token_budget, ranks=1, min_saving=MIN_SAVING
    )

    whole = assemble(rows, bins, parts=parts, training_version=3)

    (minibatch,) = batch.minibatches
    assert batch.bins == bins
    for ours, expected in zip(
        minibatch.of(batch.train).microbatches, whole.microbatches, strict=True
    ):
        for name in Microbatch.__slots__:
            left, right = getattr(ours, name), getattr(expected, name)
            same = torch.equal if isinstance(left, Tensor) else operator.eq
            assert same(left, right), name


def gradients(train: TrainBatch, parts: Composition) -> dict[int, float]:
    """By token, of the loss, at logprobs that are a little off those recorded."""
    found = {}
    for part in train.microbatches:
        measured = part.replace(proximal_logprobs=part.behavior_logprobs)
        current = (part.behavior_logprobs + 0.01).requires_grad_()
        loss, _ = Objective(parts)(current, torch.zeros_like(current), measured)
        (slopes,) = torch.autograd.grad(loss, current)
        chosen = part.action_mask
        found |= dict(zip(part.tokens[chosen].tolist(), slopes[chosen].tolist(), strict=True))
    return found


@pytest.mark.parametrize("aggregation", ["token_mean", "seq_mean_token_mean", "prompt_mean"])
def test_gradients_of_minibatches_add_up_to_that_of_the_batch(aggregation: str) -> None:
    """Before any weight moves, each minibatch's gradient by its share of the denominator is the batch's, token by token."""
    whole = Composition.model_validate({"aggregation": aggregation})
    split = whole.model_copy(update={"minibatches": 2})
    batch = prepared(split)
    counts = {
        "token_mean": lambda rows: sum(row.num_sampled for row in rows),
        "seq_mean_token_mean": len,
        "prompt_mean": lambda rows: len({row.group for row in rows}),
    }
    count = counts[aggregation]

    summed = {}
    for minibatch in batch.minibatches:
        rows = [row for row in batch.rows if row.group in minibatch.groups]
        own = gradients(minibatch.of(batch.train), split)
        summed |= {token: value * count(rows) / count(batch.rows) for token, value in own.items()}

    assert summed == pytest.approx(gradients(prepared(whole).train, whole), rel=1e-5)
    assert len(batch.minibatches) == 2


@pytest.mark.parametrize("parts", [Composition(), FOUR])
def test_the_ratio_moves_and_the_clip_acts(place: Place, parts: Composition) -> None:
    """From a measured policy the bandit learns with one step a batch or four; later steps clip tokens, an only one never does."""
    place.parts = parts
    with Stand(place, evenness) as stand:
        before, clipped = success(stand.learner), []
        for _ in range(6):
            stand.train(rounds=1)
            clipped.append(stand.metric("turngate_training_clip_fraction", side="high"))
        # A minibatch whose rewards agree takes none.
        assert 3 * parts.minibatches < stand.learner.steps <= 6 * parts.minibatches
        assert stand.metric("turngate_training_steps_total") == stand.learner.steps
        assert stand.progress.version == 6
        assert success(stand.learner) > before + 0.1
    assert (max(clipped) > 0) == (parts.minibatches > 1)


def test_each_epoch_goes_through_the_same_minibatches(learner: MegatronLearner) -> None:
    """Two epochs of two minibatches are four steps, whose sums count each token twice; nothing is measured between them."""
    parts = Composition(minibatches=2, epochs=2)
    batch = measure(prepared(parts), learner, parts, reference=None)

    steps = take_steps(batch, learner, Objective(parts))

    assert [minibatch for minibatch, _ in steps.policy] == 2 * list(batch.minibatches)
    assert learner.steps == len(steps.moved) == 4
    once = sum(int(part.action_mask.sum()) for part in batch.train.microbatches)
    assert steps.sums["tokens"] == 2 * once
    assert steps.num_tokens_of(batch) == 2 * batch.train.num_tokens
    weights_of_tokens = [
        (part.proximal_logprobs - part.behavior_logprobs)[part.action_mask].exp()
        for part in batch.train.microbatches
    ]
    largest = float(torch.cat(weights_of_tokens).max())
    assert steps.maxima["importance_weight_max"] == pytest.approx(largest)


@pytest.fixture
def learner(model_dir: Path) -> Iterator[MegatronLearner]:
    with MegatronLearner.create(model_dir, OptimizerSettings(learning_rate=1e-2)) as made:
        yield made


def test_resuming_between_batches_goes_on_bit_for_bit(
    learner: MegatronLearner, model_dir: Path, tmp_path: Path
) -> None:
    """What a checkpoint brings back takes the steps of the next batch as if it had never stopped."""
    parts = Composition(minibatches=2, epochs=2)
    objective = Objective(parts)

    def train(by: MegatronLearner) -> None:
        take_steps(measure(prepared(parts), by, parts, reference=None), by, objective)

    train(learner)
    learner.begin_save(tmp_path / "checkpoint", {}).result()
    train(learner)
    expected, steps = weights(learner), learner.steps
    with MegatronLearner.create(model_dir, OptimizerSettings(learning_rate=1e-2)) as resumed:
        resumed.load(tmp_path / "checkpoint")
        train(resumed)
        assert resumed.steps == steps == 8
        assert all(torch.equal(expected[name], tensor) for name, tensor in weights(resumed).items())


@dataclass(frozen=True)
class Spy(Objective):
    """Keeps what each step was taken of and on."""

    seen: list[tuple[Tensor, Microbatch]] = field(default_factory=list)

    def __call__(
        self, current_logprobs: Tensor, entropies: Tensor, microbatch: Microbatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen.append((current_logprobs.detach(), microbatch))
        return super().__call__(current_logprobs, entropies, microbatch)


def test_m2po_judges_each_step_by_the_policy_it_moves(learner: MegatronLearner) -> None:
    """Among the tokens of the minibatch, by the logprobs that the step's own gradient is taken of."""
    parts = Composition(
        policy_loss="m2po", proximal="behavior", correction="none", minibatches=2, epochs=2
    )
    spy = Spy(parts)
    batch = measure(prepared(parts, token_budget=999), learner, parts, reference=None)

    take_steps(batch, learner, spy)

    choices = [
        m2po_mask(
            current,
            part.behavior_logprobs,
            action_mask=part.action_mask,
            threshold=parts.m2po_threshold,
        )
        for current, part in spy.seen
    ]
    assert len(choices) == 4
    for (_, part), choice in zip(spy.seen, choices, strict=True):
        assert part.kept is not None
        assert torch.equal(part.kept, choice)
    assert not torch.equal(choices[0], choices[2])  # the policy has moved between the epochs


@dataclass(frozen=True)
class FirstNotFinite(Spy):
    """No number comes of its first step."""

    def __call__(
        self, current_logprobs: Tensor, entropies: Tensor, microbatch: Microbatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, sums = super().__call__(current_logprobs, entropies, microbatch)
        return loss * (math.nan if len(self.seen) == 1 else 1.0), sums


def test_a_minibatch_that_is_not_finite_goes_back_alone(place: Place) -> None:
    """The other steps make a policy of their groups; its own group is kept for another try, and the baseline does not count it twice."""
    place.parts = FOUR
    with Stand(place, float) as stand:
        stand.bandit.group_size = 1
        broken = replace(stand.trainer(), objective=FirstNotFinite(FOUR))
        stand.feed.rounds = 1
        with stand.feed.open(max_live_episodes=0):
            progress = broken.train(stand.progress)
        assert progress == replace(stand.progress, version=1)
        assert progress.baseline == RunningBaseline()
        assert stand.metric("turngate_training_steps_total") == stand.learner.steps == GROUPS - 1
        assert stand.metric("turngate_training_skipped_steps_total") == 1
        assert stand.metric("turngate_training_alerts_total", kind="not_finite") == 1
        totals = stand.bridge.call(stand.store.totals)
        assert (totals.trained, totals.groups["ready"]) == (GROUPS - 1, 1)


def test_a_minibatch_whose_second_epoch_moves_is_trained(learner: MegatronLearner) -> None:
    """Only what no step trained is given back."""
    parts = Composition(minibatches=2, epochs=2)
    batch = measure(prepared(parts, token_budget=999), learner, parts, reference=None)
    drawn = claims(PLAYS)

    steps = take_steps(batch, learner, FirstNotFinite(parts))

    assert [metrics.skipped for _, metrics in steps.policy] == [True, False, False, False]
    assert steps.parted(drawn) == (drawn, [])


@pytest.mark.parametrize("every", [3, 5])
def test_a_checkpoint_is_due_where_a_batch_passes_a_multiple(tmp_path: Path, every: int) -> None:
    """However many steps its batches take, a trainer checkpoints once for each multiple of `every_steps` that it passes or reaches."""
    checkpoints = Checkpoints(tmp_path, every_steps=every, keep=1)
    ends = range(0, 40, 2)

    due = [end for start, end in itertools.pairwise(ends) if checkpoints.is_due(end, before=start)]

    assert due == [math.ceil(multiple / 2) * 2 for multiple in range(every, 39, every)]
