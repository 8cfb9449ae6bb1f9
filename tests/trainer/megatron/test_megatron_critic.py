"""The critic: a second model that learns what the state before each token is worth."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from tests.trainer.megatron.conftest import VOCABULARY, Reference
from tests.trainer.megatron.packing import (
    microbatch,
    random_sequences,
    score_function,
    squared_error,
)
from trainer.learner.errors import CheckpointError
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner

Create = Callable[..., MegatronLearner]
CRITIC = OptimizerSettings(learning_rate=1e-2, epsilon=1e-3)


def reference_values(
    model: torch.nn.Module, head: torch.nn.Linear, part: Microbatch
) -> torch.Tensor:
    """[T], each read off the last hidden state of the token before, row by row."""
    values = torch.zeros(part.num_tokens, dtype=torch.float64)
    predecessors = part.predecessors
    for path in part.paths:
        starts = part.cu_seqlens.tolist()
        places = torch.cat([torch.arange(starts[i], starts[i] + n) for i, n in path])
        hidden = model(part.tokens[places][None]).last_hidden_state[0]
        before = head(hidden)[:-1, 0]
        own = places[1:] >= starts[path[-1][0]]
        assert (predecessors[places[1:]] == places[:-1])[own].all()
        values = values.index_copy(0, places[1:][own], before[own])
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_value_is_zero_at_first(
    qwen3: Reference, create: Create, one_pack: Microbatch, dtype: torch.dtype
) -> None:
    """All its values are 0 at first, in float32."""
    learner = create(qwen3.directory, critic=CRITIC, dtype=dtype)
    (values,) = learner.values(TrainBatch((one_pack,)))
    assert values.dtype == torch.float32
    assert torch.equal(values, torch.zeros(one_pack.num_tokens))


def test_values_and_gradients_are_those_of_transformers_in_float64(
    reference: Reference, create: Create
) -> None:
    """Three Adam steps on a tree: loss, gradient norm and what the values become, for every architecture."""
    part = microbatch(
        random_sequences((5, 5, 5, 40), vocabulary=VOCABULARY),
        denominator=9,
        parents=(-1, 2, 7, -1),
    )
    learner = create(
        reference.directory,
        critic=OptimizerSettings(learning_rate=1e-2, epsilon=1e-2, clip_gradient_norm=0.0),
    )
    model = transformers.AutoModel.from_pretrained(
        reference.directory, experts_implementation="eager"
    ).double()
    head = torch.nn.Linear(64, 1, dtype=torch.float64)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2, betas=(0.9, 0.95), eps=1e-2)
    for _ in range(3):
        metrics = learner.step_critic(TrainBatch((part,)), squared_error)
        optimizer.zero_grad()
        loss, _ = squared_error(reference_values(model, head, part), part)
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()
        assert metrics.loss == pytest.approx(loss.item(), rel=1e-5)
        assert metrics.gradient_norm == pytest.approx(norm.item(), rel=1e-5)
        optimizer.step()
    (values,) = learner.values(TrainBatch((part,)))
    expected = reference_values(model, head, part).detach().where(part.action_mask, 0.0)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(values.double(), expected, atol=1e-5, rtol=0)


def test_critic_and_policy_move_apart(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """A step of the one leaves every weight of the other as it is, and adapters do not reach the critic."""
    batch = TrainBatch((one_pack,))
    learner = create(qwen3.directory, critic=CRITIC)
    weights = dict(learner.export())
    learner.step_critic(batch, squared_error)
    assert all(torch.equal(weights[name], weight) for name, weight in learner.export())
    (values,) = learner.values(batch)
    learner.step(batch, score_function)
    (same,) = learner.values(batch)
    assert torch.equal(values, same)
    assert not all(torch.equal(weights[name], weight) for name, weight in learner.export())


def test_a_constant_reward_becomes_the_value(qwen3: Reference, create: Create) -> None:
    """Trained on one return for every token, the critic predicts it everywhere."""

    def off_by(
        values: torch.Tensor, part: Microbatch
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return (part.weights * (values - 0.7) ** 2).sum(), {}

    part = microbatch(random_sequences((9, 30, 4), vocabulary=VOCABULARY), denominator=40)
    learner = create(qwen3.directory, critic=CRITIC)
    for _ in range(25):
        learner.step_critic(TrainBatch((part,)), off_by)
    (values,) = learner.values(TrainBatch((part,)))
    assert (values[part.action_mask] - 0.7).abs().mean() < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_critic_is_bit_equal_to_one_that_never_stopped(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path, dtype: torch.dtype
) -> None:
    """Its weights, moments and schedule are in the checkpoint, beside those of the policy."""
    settings = {"critic": OptimizerSettings(1e-2, warmup_steps=4), "dtype": dtype}
    batch = TrainBatch((one_pack,))
    unbroken = create(qwen3.directory, **settings)
    for _ in range(2):
        unbroken.step_critic(batch, squared_error)
    unbroken.step(batch, score_function)
    unbroken.begin_save(tmp_path / "two", {}).result()
    expected = [unbroken.step_critic(batch, squared_error) for _ in range(2)]

    resumed = create(qwen3.directory, **settings)
    resumed.load(tmp_path / "two")
    assert resumed.steps == 2
    assert [resumed.step_critic(batch, squared_error) for _ in range(2)] == expected
    assert torch.equal(*(learner.values(batch)[0] for learner in (unbroken, resumed)))
    assert resumed.step(batch, score_function) == unbroken.step(batch, score_function)


def test_a_critic_is_neither_dropped_nor_made_up(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """A checkpoint with one is refused by a learner without, and the other way round, before a weight is touched."""
    create(qwen3.directory, critic=CRITIC).begin_save(tmp_path / "with", {}).result()
    alone = create(qwen3.directory)
    alone.begin_save(tmp_path / "without", {}).result()
    with pytest.raises(
        CheckpointError, match=re.escape("a critic, and this learner has no adapters and no")
    ):
        alone.load(tmp_path / "with")
    with pytest.raises(CheckpointError, match="no critic, and this learner has no adapters and a"):
        create(qwen3.directory, critic=CRITIC).load(tmp_path / "without")
