"""One optimizer step: skipped when not finite, clipped, on schedule."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.trainer.megatron.conftest import Reference, random_reference
from tests.trainer.megatron.packing import score_function
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner

Create = Callable[..., MegatronLearner]


def infinite(current: Tensor, _: Tensor, __: Microbatch) -> tuple[Tensor, dict[str, Tensor]]:
    return (current / 0).sum(), {}


def nan_gradient(current: Tensor, _: Tensor, __: Microbatch) -> tuple[Tensor, dict[str, Tensor]]:
    """A finite loss, 0, whose gradient is 0 x infinity."""
    return (current * 0).sqrt().sum(), {}


@pytest.mark.parametrize("broken", [infinite, nan_gradient])
def test_a_step_that_is_not_finite_is_skipped(
    qwen3: Reference, create: Create, one_pack: Microbatch, broken: Callable[..., object]
) -> None:
    """It is reported, moves no weight, no moment and no schedule, and the next step is as if it had not been."""
    learner, undisturbed = create(qwen3.directory), create(qwen3.directory)
    before = dict(learner.export())
    metrics = learner.step(TrainBatch((one_pack,)), broken)
    assert metrics.skipped
    assert learner.steps == 0
    assert all(torch.equal(before[name], weight) for name, weight in learner.export())

    after = learner.step(TrainBatch((one_pack,)), score_function)
    assert after == undisturbed.step(TrainBatch((one_pack,)), score_function)
    expected = dict(undisturbed.export())
    assert all(torch.equal(expected[name], weight) for name, weight in learner.export())


def test_a_batch_without_action_tokens_moves_nothing(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """Its loss and gradient are 0, and so is its step."""
    learner = create(qwen3.directory)
    before = dict(learner.export())
    metrics = learner.step(TrainBatch((one_pack.blank(),)), score_function)
    assert (metrics.loss, metrics.gradient_norm, metrics.skipped) == (0.0, 0.0, False)
    assert all(torch.equal(before[name], weight) for name, weight in learner.export())


def test_norms_and_biases_do_not_decay(
    create: Create, one_pack: Microbatch, tmp_path: Path
) -> None:
    """Where the gradient is 0, a step takes learning_rate * weight_decay from every matrix and nothing else."""
    reference = random_reference("qwen2", tmp_path)
    learner = create(reference.directory, learning_rate=0.1, weight_decay=0.5)
    before = dict(learner.export())
    learner.step(TrainBatch((one_pack.blank(),)), score_function)
    after = dict(learner.export())
    vectors = {name for name, weight in before.items() if weight.dim() == 1}
    assert {"model.norm.weight", "model.layers.0.self_attn.q_proj.bias"} <= vectors < before.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight * (1 if name in vectors else 0.95))


def test_the_gradient_is_clipped_to_its_norm(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """With epsilon far above the gradient Adam's first step is proportional to it: clipping scales it down."""
    steps = {}
    for limit in (0.0, 0.5):
        learner = create(qwen3.directory, learning_rate=1e3, epsilon=1e3, clip_gradient_norm=limit)
        before = dict(learner.export())
        metrics = learner.step(TrainBatch((one_pack,)), score_function)
        moved = torch.cat([(before[n] - w).flatten() for n, w in learner.export()])
        steps[limit] = moved.double().norm().item()
    assert steps[0.0] == pytest.approx(metrics.gradient_norm, rel=2e-3)
    assert steps[0.5] == pytest.approx(0.5, rel=2e-3)


def test_the_loss_receives_entropies_with_gradient(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """Descending the negative entropy raises it."""

    def negative_entropy(
        _: Tensor, entropies: Tensor, part: Microbatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return -(part.weights * entropies).sum(), {}

    learner = create(qwen3.directory)
    losses = [learner.step(TrainBatch((one_pack,)), negative_entropy).loss for _ in range(4)]
    assert losses[0] < 0
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ({"warmup_steps": 4}, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
        ({"schedule": "linear", "decay_steps": 4}, [0.75, 0.5, 0.25, 0.0, 0.0, 0.0]),
        (
            {"schedule": "linear", "warmup_steps": 2, "decay_steps": 4, "minimum_ratio": 0.5},
            [0.5, 1.0, 0.75, 0.5, 0.5, 0.5],
        ),
        (
            {"schedule": "cosine", "decay_steps": 4, "minimum_ratio": 0.1},
            [0.1 + 0.9 * x for x in (0.853553, 0.5, 0.146447, 0.0, 0.0, 0.0)],
        ),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    qwen3: Reference,
    create: Create,
    one_pack: Microbatch,
    settings: dict[str, object],
    rates: list[float],
) -> None:
    """Warm-up, linear and cosine decay reach the stated rates at the stated steps."""
    learner = create(qwen3.directory, learning_rate=1e-3, **settings)
    batch = TrainBatch((one_pack,))
    taken = [learner.step(batch, score_function).learning_rate for _ in rates]
    assert taken == pytest.approx([1e-3 * rate for rate in rates], rel=1e-5, abs=1e-12)


def test_a_decaying_schedule_must_say_where_it_ends() -> None:
    """Linear and cosine schedules without decay_steps beyond the warm-up are refused."""
    with pytest.raises(ValueError, match="needs decay_steps"):
        OptimizerSettings(1e-3, schedule="cosine")
    with pytest.raises(ValueError, match="greater than warmup_steps"):
        OptimizerSettings(1e-3, schedule="linear", warmup_steps=5, decay_steps=5)
