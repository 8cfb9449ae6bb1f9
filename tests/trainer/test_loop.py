"""The whole loop against a real Redis and a real Megatron-Core model; only the agents are a rule."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rollout.episode.episode_status import DiscardReason
from rollout.policies import verify
from tests.trainer.bandit import is_even, published, success, weights
from tests.trainer.stand import GROUPS, Place, Stand


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    return Place(redis_url, tmp_path, model_dir)


def test_rewarding_a_behavior_makes_it_more_likely(place: Place) -> None:
    """Twelve batches rewarded for even tokens raise their probability well above the initial half."""
    with Stand(place, reward=lambda token: float(is_even(token))) as stand:
        before = success(stand.learner)
        progress = stand.train(rounds=12)
        assert before == pytest.approx(0.5, abs=0.1)
        assert success(stand.learner) > before + 0.2
        assert progress.version == 12


def test_inverting_the_reward_makes_success_fall(place: Place) -> None:
    """The same twelve batches with the reward inverted lower it as far."""
    with Stand(place, reward=lambda token: float(not is_even(token))) as stand:
        before = success(stand.learner)
        stand.train(rounds=12)
        assert success(stand.learner) < before - 0.2


def test_a_constant_reward_changes_nothing(place: Place) -> None:
    """Equal rewards leave every weight bit-equal, publish nothing and discard the episodes as no_signal."""
    with Stand(place, reward=lambda _: 0.1) as stand:
        before = weights(stand.learner)
        progress = stand.train(rounds=3)
        after = weights(stand.learner)
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert published(place.weights_dir) == ["v00000000"]
        assert progress.version == 0
        totals = stand.bridge.call(stand.store.totals)
        assert totals.discarded[DiscardReason.NO_SIGNAL] == 3 * GROUPS * stand.bandit.group_size
        assert totals.trained == 0


def test_every_step_publishes_what_the_learner_holds(place: Place) -> None:
    """After a step the recorded policy is whole on disk, its parent is the one before, its tensors bit-equal."""
    with Stand(place, reward=lambda token: float(is_even(token))) as stand:
        stand.train(rounds=2)
        recorded = stand.bridge.call(stand.store.policy)
        assert recorded is not None
        assert (recorded.version, recorded.parent) == (2, 1)
        verify(recorded)
        saved = load_file(Path(recorded.path) / "model.safetensors")
        held = weights(stand.learner)
        assert saved.keys() == held.keys()
        assert all(torch.equal(saved[name], held[name]) for name in held)


def test_trained_episodes_name_the_policy_they_went_into(place: Place) -> None:
    """Every played episode is trained, and the totals add up."""
    with Stand(place, reward=lambda token: float(is_even(token))) as stand:
        stand.train(rounds=3)
        totals = stand.bridge.call(stand.store.totals)
        assert totals.trained == totals.opened == 3 * GROUPS * stand.bandit.group_size
        episodes, _ = stand.bridge.call(stand.store.episodes)
        assert {episode.header.policy_version for episode in episodes} <= {1, 2, 3}


def test_metrics_describe_the_step(place: Place) -> None:
    """The exported numbers are those of the batch: on-policy weights of 1, no clipping, tokens counted."""
    with Stand(place, reward=lambda token: float(is_even(token))) as stand:
        stand.train(rounds=2)
        assert stand.metric("turngate_training_steps_total") == 2
        assert stand.metric("turngate_training_policy_version") == 2
        assert stand.metric("turngate_training_importance_weight_mean") == pytest.approx(
            1, abs=1e-4
        )
        assert stand.metric("turngate_training_effective_sample_size") == pytest.approx(1, abs=1e-4)
        assert stand.metric("turngate_training_kl") == pytest.approx(0, abs=1e-6)
        assert stand.metric("turngate_training_clip_fraction", side="high") == 0
        assert stand.metric("turngate_training_entropy") > 1
        # The bandit takes one turn, so that there is nothing to merge but the prompt of its episodes, in trees.
        sharing_ratio = stand.metric("turngate_training_sharing_ratio")
        assert stand.metric("turngate_training_merge_ratio") == sharing_ratio > 1.5
        assert stand.metric("turngate_training_staleness_count") == 2 * GROUPS
        assert stand.metric("turngate_training_token_staleness_max") == 0
        sampled = stand.metric("turngate_training_token_staleness_count")
        assert stand.metric("turngate_training_token_staleness_bucket", le="0") == sampled
        assert sampled == 2 * GROUPS * stand.bandit.group_size
        assert stand.metric("turngate_training_rejected_fraction") == 0
        assert stand.metric("turngate_training_rejected_by_fraction", rule="correction") == 0
        for phase in ("claim", "publish"):
            assert stand.metric("turngate_training_phase_seconds_count", phase=phase) == 2
