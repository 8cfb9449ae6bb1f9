"""Publishing under faults: a full disk, numbers that are not finite; and weights in shards."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rollout.episode.episode_status import DiscardReason
from rollout.errors import PolicyDamaged
from rollout.policies import PolicyStore, verify
from tests.trainer.bandit import is_even, published, weights
from tests.trainer.stand import GROUPS, Place, Stand
from trainer.algorithms import RunningBaseline
from trainer.async_bridge import Stopped
from trainer.feed.feed import MAX_REFUSALS
from trainer.learner.lora import Lora
from trainer.learner.microbatch import Microbatch
from trainer.objective.objective import Objective
from trainer.publish.weight_files import write_weights


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    return Place(redis_url, tmp_path, model_dir)


def block(place: Place) -> None:
    """Put a file where the weights directory was: nothing can be written there."""
    place.weights_dir.rename(place.directory / "aside")
    place.weights_dir.write_text("")


class Operator(logging.Handler):
    """Calls a function when the alert is logged."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__(logging.ERROR)
        self.act = act

    def emit(self, record: logging.LogRecord) -> None:
        assert record.getMessage() == "publish"
        self.act()


@contextmanager
def operator(act: Callable[[], None]) -> Iterator[None]:
    """Handle the trainer's alerts while the block runs."""
    reading = Operator(act)
    logging.getLogger("trainer").addHandler(reading)
    try:
        yield
    finally:
        logging.getLogger("trainer").removeHandler(reading)


def unblock(place: Place) -> None:
    place.weights_dir.unlink()
    (place.directory / "aside").rename(place.weights_dir)


def test_a_disk_that_takes_nothing_is_waited_for(place: Place) -> None:
    """Publishing raises an alert, waits, and then publishes the same step; no episode is lost."""
    with Stand(place, lambda t: float(is_even(t))) as stand:
        block(place)
        with operator(lambda: unblock(place)):
            assert stand.train(rounds=1).version == 1
        assert stand.metric("turngate_training_alerts_total", kind="publish") == 1
        recorded = stand.bridge.call(stand.store.policy)
        assert recorded is not None
        verify(recorded)
        assert stand.bridge.call(stand.store.totals).trained == GROUPS * stand.bandit.group_size


def test_stopping_while_the_disk_is_full_keeps_the_data(place: Place) -> None:
    """Asked to stop during the wait, the trainer releases its claims, and the served policy stays recorded."""
    with Stand(place, lambda t: float(is_even(t))) as stand:
        block(place)
        with operator(stand.bridge.stop), pytest.raises(Stopped):
            stand.train(rounds=1)
        totals = stand.bridge.call(stand.store.totals)
        assert totals.groups == {"ready": GROUPS, "claimed": 0}
        recorded = stand.bridge.call(stand.store.policy)
        assert recorded is not None
        assert recorded.version == 0


class NotANumber(Objective):
    def __call__(
        self, current_logprobs: Tensor, entropies: Tensor, microbatch: Microbatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return current_logprobs.sum() * float("nan"), {}


def test_a_gradient_that_is_not_finite_moves_nothing(place: Place) -> None:
    """The step is skipped with an alert; its groups are tried twice more and then discarded."""
    with Stand(place, lambda t: float(is_even(t))) as stand:
        before = weights(stand.learner)
        broken = replace(stand.trainer(), objective=NotANumber())
        stand.feed.rounds = MAX_REFUSALS
        with stand.feed.open(max_live_episodes=0):
            progress = broken.train(stand.progress)
        assert progress.version == 0
        assert published(place.weights_dir) == ["v00000000"]
        assert all(torch.equal(before[name], t) for name, t in weights(stand.learner).items())
        assert stand.metric("turngate_training_alerts_total", kind="not_finite") == MAX_REFUSALS
        totals = stand.bridge.call(stand.store.totals)
        assert totals.discarded[DiscardReason.FAILED] == GROUPS * stand.bandit.group_size
        assert totals.groups["ready"] == (MAX_REFUSALS - 1) * GROUPS


def test_a_refused_batch_leaves_the_baseline_alone(place: Place) -> None:
    """The rewards of a released batch must not count at each try."""
    with Stand(place, float) as stand:
        stand.bandit.group_size = 1
        broken = replace(stand.trainer(), objective=NotANumber())
        stand.feed.rounds = 1
        with stand.feed.open(max_live_episodes=0):
            refused = broken.train(stand.progress)
        assert refused.baseline == RunningBaseline()
        assert stand.metric("turngate_training_alerts_total", kind="not_finite") == 1
        assert stand.train(rounds=1).baseline.weight > 0


def test_a_checkpoint_that_cannot_be_written_is_tried_again(place: Place) -> None:
    """A full disk at a checkpoint raises an alert; training and publishing continue, the next one is complete."""
    with Stand(place, lambda t: float(is_even(t))) as stand:
        place.checkpoint_dir.write_text("")
        assert stand.train(rounds=5).version == 5
        assert stand.metric("turngate_training_alerts_total", kind="checkpoint") == 1
        assert stand.checkpoints.newest() is None
        place.checkpoint_dir.unlink()
        progress = stand.train(rounds=5)
        assert stand.checkpoints.newest() == 10
        assert stand.checkpoints.restore(stand.learner, 10) == progress


def test_large_models_are_written_in_shards(tmp_path: Path) -> None:
    """Beyond the shard size there are several files and an index that finds every tensor bit-equal."""
    tensors = {f"layer.{i}.weight": torch.randn(100) for i in range(5)}
    write_weights(tmp_path, iter(tensors.items()), shard_bytes=900)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 5 * 400
    assert len(set(index["weight_map"].values())) == 3
    for name, file in index["weight_map"].items():
        assert torch.equal(load_file(tmp_path / file)[name], tensors[name])


def test_every_tensor_is_taken_even_if_none_can_be_written(tmp_path: Path) -> None:
    """Ranks make tensors together, so rank 0 takes part to the end before it reports the failure."""
    taken = []

    def tensors() -> object:
        for i in range(4):
            taken.append(i)
            yield f"t{i}", torch.zeros(100)

    directory = tmp_path / "gone"
    directory.mkdir()
    shutil.rmtree(directory)
    with pytest.raises(OSError, match="No such file"):
        write_weights(directory, tensors(), shard_bytes=400)
    assert taken == [0, 1, 2, 3]


def adapter_of(directory: Path) -> tuple[dict[str, Tensor], str]:
    """(factors by PEFT's name, the base that they are added to)."""
    config = json.loads((directory / "adapter" / "adapter_config.json").read_text())
    return load_file(directory / "adapter" / "adapter_model.safetensors"), config[
        "base_model_name_or_path"
    ]


def test_a_policy_is_its_base_and_the_adapter_beside_it(place: Place) -> None:
    """Base plus alpha / rank x B A is what engines load, and a changed adapter is damage as a changed weight is."""
    place.lora = Lora(rank=2, alpha=8.0, target_modules=("q_proj", "down_proj"))
    with Stand(place, lambda t: float(is_even(t))) as stand:
        stand.train(rounds=1)
    policy = PolicyStore(place.weights_dir).policy(1)
    verify(policy)
    directory = Path(policy.path)
    factors, base = adapter_of(directory)
    assert base == str(place.model_dir)
    before, after = (load_file(path / "model.safetensors") for path in (Path(base), directory))
    for name, weight in after.items():
        a, b = (f"base_model.model.{name[:-7]}.lora_{part}.weight" for part in "AB")
        product = factors.pop(b) @ factors.pop(a) if a in factors else torch.zeros(())
        torch.testing.assert_close(weight, before[name] + 4.0 * product, atol=1e-7, rtol=0)
    assert not factors
    (directory / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(PolicyDamaged, match=r"adapter/adapter_config\.json"):
        verify(policy)


def test_an_adapter_names_the_weights_that_it_was_trained_on(place: Place) -> None:
    """A trainer that died without a checkpoint resumes from the last recorded policy, and its checkpoint names that base."""
    place.lora = Lora(rank=2, alpha=8.0, target_modules=("q_proj", "down_proj"))
    with Stand(place, lambda t: float(is_even(t))) as stand:
        stand.train(rounds=1)
    policies = PolicyStore(place.weights_dir)
    with Stand(place, lambda t: float(is_even(t))) as stand:
        progress = stand.train(rounds=1)
        stand.trainer().ensure_checkpoint(progress)
        expected = weights(stand.learner)
    assert adapter_of(Path(policies.policy(2).path))[1] == policies.policy(1).path
    with Stand(place, lambda t: float(is_even(t))) as stand:
        assert str(stand.learner.base_dir) == policies.policy(1).path
        assert all(torch.equal(expected[name], w) for name, w in stand.learner.export())
