"""A frozen policy beside the trained one: both use one model, whose weights are bit-equal afterwards."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.trainer.megatron.conftest import Reference, random_reference
from tests.trainer.megatron.packing import score_function
from trainer.learner.errors import ModelNotSupported
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.megatron.learner import MegatronLearner

Create = Callable[..., MegatronLearner]


def test_a_frozen_policy_is_measured_and_does_not_move(
    qwen3: Reference, create: Create, one_pack: Microbatch
) -> None:
    """Its logprobs stay those of its directory while the learner trains, and measuring it changes no weight."""
    learner, batch = create(qwen3.directory), TrainBatch((one_pack,))
    (at_start,) = learner.logprobs(batch)
    frozen = learner.freeze(qwen3.directory)
    learner.step(batch, score_function)
    before, (moved,) = dict(learner.export()), learner.logprobs(batch)

    (measured,) = frozen.logprobs(batch)

    assert torch.equal(measured, at_start)
    assert not torch.allclose(moved, at_start)
    assert torch.equal(learner.logprobs(batch)[0], moved)
    assert all(torch.equal(before[name], weight) for name, weight in learner.export())


def test_reading_a_frozen_policy_leaves_the_learner_alone(
    qwen3: Reference, create: Create, one_pack: Microbatch, tmp_path: Path
) -> None:
    """Another model's weights pass through the learner's model, and its next step is as if they had not."""
    other = random_reference("qwen3", tmp_path, seed=1)
    learner, undisturbed = create(qwen3.directory), create(qwen3.directory)
    batch = TrainBatch((one_pack,))

    frozen = learner.freeze(other.directory)

    (ours,), (theirs,) = learner.logprobs(batch), frozen.logprobs(batch)
    expected = other.logprobs(one_pack).detach() * one_pack.action_mask
    torch.testing.assert_close(theirs, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours, theirs)
    assert learner.step(batch, score_function) == undisturbed.step(batch, score_function)


def test_a_reference_of_another_vocabulary_is_refused(
    qwen3: Reference, create: Create, tmp_path: Path
) -> None:
    """The error names the difference, and no weight was touched."""
    other = tmp_path / "other"
    shutil.copytree(qwen3.directory, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"vocab_size": 99}))
    learner = create(qwen3.directory)
    before = dict(learner.export())

    with pytest.raises(ModelNotSupported, match="vocab_size 99 instead of 131"):
        learner.freeze(other)

    assert all(torch.equal(before[name], weight) for name, weight in learner.export())
