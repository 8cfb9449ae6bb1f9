"""A tree is its rows: the same logprobs and the same gradients, on the real model."""

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, Turn
from tests.trainer.batch.test_batch import turn
from tests.trainer.megatron.conftest import VOCABULARY, Reference
from tests.trainer.megatron.packing import random_sequences, score_function
from trainer.batch.assembly import pack_rows
from trainer.batch.episode_rows import Row, episode_rows
from trainer.composition.composition import Composition
from trainer.learner.layout import Layout
from trainer.learner.microbatch import TrainBatch
from trainer.megatron import processes
from trainer.megatron.architecture import Architecture
from trainer.megatron.model.network import LossFunction
from trainer.megatron.model.policy_model import PolicyModel
from trainer.megatron.weights import weights
from trainer.objective.objective import Objective

# name: where the turn hangs, new context tokens, output tokens
SHAPE = {
    "first": (None, 0, 9),
    "second": (Anchor("first", 0, 9), 6, 12),
    "third": (Anchor("second", 0, 12), 5, 11),
    "fourth": (Anchor("third", 0, 11), 7, 8),
    "fork": (Anchor("first", 0, 9), 4, 10),
    "retry": (Anchor("third", -1, 5), 0, 13),
    "compaction": (Anchor("first", -1, 17), 6, 9),
    "edit": (Anchor("second", 0, 5), 3, 7),
}


def branching_episode(seed: int) -> list[Turn]:
    """A chain, a fork of it, a retry, a compaction and an edit inside an output; every episode has the same prompt."""
    (prompt,) = random_sequences((30,), vocabulary=VOCABULARY)
    lengths = [length for _, context, output in SHAPE.values() for length in (context, output)]
    pieces = [
        piece.tolist() for piece in random_sequences(lengths, vocabulary=VOCABULARY, seed=seed)
    ]
    contexts, outputs = pieces[::2], pieces[1::2]
    contexts[0] = prompt.tolist()
    outputs[5][:6] = outputs[2][
        :6
    ]  # the retry begins as what it repeats: sampled twice, trained twice
    return [
        turn(name, context, output, anchor=anchor)
        for (name, (anchor, *_)), context, output in zip(
            SHAPE.items(), contexts, outputs, strict=True
        )
    ]


def one_row_per_turn(turns: Sequence[Turn], advantage: float) -> list[Row]:
    """Every output below its whole prompt, in a row of its own."""
    trie = Trie(turns)
    return [
        row
        for t in turns
        for row in episode_rows(
            Trie([turn(t.id, [*trie.tokens(t.anchor), *t.context_ids], t.outputs[0].ids)]),
            advantage,
        )
    ]


EPISODES = [(branching_episode(seed), advantage) for seed, advantage in ((1, 0.7), (2, -1.3))]
PER_TURN = [row for turns, advantage in EPISODES for row in one_row_per_turn(turns, advantage)]
MERGED = [row for turns, advantage in EPISODES for row in episode_rows(Trie(turns), advantage)]


@pytest.fixture(scope="module")
def exact_model(qwen3: Reference) -> Iterator[PolicyModel]:
    """The model in float64. Without the learner's gradient buffers, which are float32."""
    membership = processes.enter(Layout(), 0)
    architecture = Architecture.read(qwen3.directory)
    policy = PolicyModel.build(architecture, Layout(), torch.float64)
    weights.load(policy, architecture, qwen3.directory)
    yield policy
    membership.leave()


def gradients(
    policy: PolicyModel, batch: TrainBatch, loss: LossFunction = score_function
) -> dict[str, Tensor]:
    policy.zero_grad()
    for part in batch.microbatches:
        current, entropies = policy(part)
        assert current.dtype == torch.float64
        value, _ = loss(current, entropies, part)
        (value + (part.weights * entropies).sum()).backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters()}


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> Tensor:
    """Of the most different element, in units of the largest."""
    largest = max(gradient.abs().max() for gradient in expected.values())
    return (
        max((found[name] - gradient).abs().max() for name, gradient in expected.items()) / largest
    )


@pytest.mark.parametrize("budget", [10_000, 150, 60])
def test_rows_merged_rows_and_trees_have_the_same_gradient(
    exact_model: PolicyModel, budget: int
) -> None:
    """In float64, to 1e-10 of the largest: one row per turn, the rows of the tries, and the trees of both."""
    batches = {
        "per turn": pack_rows(PER_TURN, token_budget=10_000, min_saving=math.inf),
        "merged": pack_rows(MERGED, token_budget=10_000, min_saving=math.inf),
        "trees of turns": pack_rows(PER_TURN, token_budget=budget),
        "trees": pack_rows(MERGED, token_budget=budget, min_saving=1.0),
    }
    expected = gradients(exact_model, batches.pop("per turn"))
    for name, batch in batches.items():
        assert difference(gradients(exact_model, batch), expected) < 1e-10, name


def test_a_loss_that_knows_rows_knows_those_of_trees(exact_model: PolicyModel) -> None:
    """A weight that is the product over a row's tokens is that of the row, wherever its tree holds its beginning."""
    objective = Objective(Composition(policy_loss="score_function", correction="seq_tis"))
    found = []
    for min_saving in (1.0, math.inf):
        batch = pack_rows(MERGED, token_budget=10_000, min_saving=min_saving)
        drifted = [p.behavior_logprobs + p.tokens.float().sin() / 10 for p in batch.microbatches]
        found.append(gradients(exact_model, batch.with_proximal_logprobs(drifted), loss=objective))
    assert difference(*found) < 1e-10
    plain = gradients(exact_model, batch)
    assert difference(plain, found[0]) > 1e-3
