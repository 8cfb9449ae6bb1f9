"""Death on every line between a gradient and a served policy, with a real Redis and a real learner."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from redis import Redis

from deploy.demo.starter.starter import create_untrained
from rollout.audit.audit import Audit
from rollout.errors import ClaimLost
from rollout.policies import PolicyStore, verify
from rollout.settings import SettingsError
from rollout.settler import settle
from tests.trainer.bandit import is_even, published, weights
from tests.trainer.stand import GROUPS, LEASE_SECONDS, Place, Stand
from trainer.publish.resume import NothingToRestore


def evenness(token: int) -> float:
    return float(is_even(token))


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    return Place(redis_url, tmp_path, model_dir)


def step_without_ack(stand: Stand) -> str:
    """Play, claim, step and write, then stop."""
    stand.bandit.play(stand.learner, stand.feed.version)
    trainer, claims = stand.trainer(), stand.claim()
    trainer.step(trainer.measure(trainer.prepare(claims, stand.progress)))
    version = stand.publisher.reserve(stand.progress.version)
    return stand.publisher.write(stand.learner, version, parent=stand.progress.version).path


def test_a_policy_written_but_not_recorded_is_removed(place: Place) -> None:
    """Dead between write and ack: the orphan is deleted at the next start and its version is not used again."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=1)
        orphan = step_without_ack(stand)
        assert Path(orphan).name == "v00000002"
    with Stand(place, evenness) as stand:
        assert published(place.weights_dir) == ["v00000000", "v00000001"]
        assert stand.progress.version == 1
        assert stand.train(rounds=1).version == 3


def test_a_policy_that_the_ledger_misses_is_recorded_at_the_next_start(place: Place) -> None:
    """Dead between ack and ledger: the ledger has the recorded policy after the restart."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=1)
    place.database_url = f"sqlite:///{place.directory}/ledger.db"
    with Stand(place, evenness) as stand:
        policies = stand.bridge.call(stand.ledger.policies, place.project)
        assert [(policy.version, policy.parent) for policy in policies] == [(0, None), (1, 0)]
        assert stand.bridge.call(stand.store.recorded_policy) == policies[-1]


def test_what_a_dead_trainer_held_is_trained_by_the_next(place: Place) -> None:
    """Claims of a dead trainer expire with their lease; then every episode is trained."""
    with Stand(place, evenness) as stand:
        step_without_ack(stand)
    place.later_seconds += 2 * LEASE_SECONDS
    with Stand(place, evenness) as stand:
        claims = stand.claim()
        assert len(claims) == GROUPS
        assert {claim.deliveries for claim in claims} == {2}


def test_a_lost_lease_records_nothing(place: Place) -> None:
    """A trainer that slept through its lease cannot ack what another one holds now."""
    with Stand(place, evenness) as sleeper:
        sleeper.bandit.play(sleeper.learner, 0)
        claims = sleeper.claim()
        policy = sleeper.publisher.write(sleeper.learner, 1, parent=0)
        place.later_seconds += 2 * LEASE_SECONDS
        with Stand(place, evenness) as other:
            assert {c.group_id for c in other.claim()} == {c.group_id for c in claims}
            with pytest.raises(ClaimLost):
                sleeper.feed.ack(claims, policy)
            recorded = other.bridge.call(other.store.policy)
            assert recorded is not None
            assert recorded.version == 0


def test_resuming_goes_on_bit_for_bit(place: Place) -> None:
    """From a checkpoint of the recorded policy: same weights, same next version, baseline and step kept."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=5)
        before, progress, steps = weights(stand.learner), stand.progress, stand.learner.steps
    with Stand(place, evenness) as stand:
        after = weights(stand.learner)
        assert stand.progress == progress
        assert stand.learner.steps == steps == 5
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert stand.train(rounds=1).version == 6


def test_an_older_checkpoint_queues_again_what_it_has_not_seen(place: Place) -> None:
    """Checkpoint at 5, recorded 7: two batches are queued again and the old weights served under version 8."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=5)
        at_checkpoint = weights(stand.learner)
        stand.train(rounds=2)
        assert stand.progress.version == 7
    with Stand(place, evenness) as stand:
        recorded = stand.bridge.call(stand.store.policy)
        assert recorded is not None
        assert (recorded.version, recorded.parent) == (8, 5)
        verify(recorded)
        now = weights(stand.learner)
        assert all(torch.equal(at_checkpoint[name], now[name]) for name in now)
        totals = stand.bridge.call(stand.store.totals)
        assert totals.groups["ready"] == 2 * GROUPS
        assert totals.trained == 5 * GROUPS * stand.bandit.group_size


def test_without_a_checkpoint_the_recorded_policy_is_taken_up(place: Place) -> None:
    """Dead before the first checkpoint: training resumes from the recorded policy, nothing is trained twice."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=2)
        held = weights(stand.learner)
    with Stand(place, evenness) as stand:
        now = weights(stand.learner)
        assert stand.progress.version == 2
        assert all(torch.equal(held[name], now[name]) for name in now)
        assert stand.bridge.call(stand.store.totals).groups["ready"] == 0


def test_a_policy_that_comes_back_late_is_not_mistaken_for_the_weights_held(place: Place) -> None:
    """Redis empty and the ledger away as the learner is built: once the ledger is back, the weights of a new start are right."""
    place.database_url = f"sqlite:///{place.directory}/ledger.db"
    with Stand(place, evenness) as stand, Redis.from_url(place.redis_url) as redis:
        stand.train(rounds=2)
        held = weights(stand.learner)
        stand.bridge.call(settle, stand.store, stand.ledger)
        redis.delete(*redis.keys(f"turngate:{{{place.project}}}:*"))
    with pytest.raises(NothingToRestore), Stand(place, evenness):
        pass
    with Stand(place, evenness) as stand:
        now = weights(stand.learner)
        assert stand.progress.version == 2
        assert all(torch.equal(held[name], now[name]) for name in now)


def test_an_emptied_redis_does_not_reuse_versions(place: Place) -> None:
    """With checkpoint and weights but an empty Redis, new versions are above all versions on disk."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=6)
    forgetful = Place(place.redis_url, place.directory, place.model_dir)
    with Stand(forgetful, evenness) as stand:
        assert stand.progress.version == 7
        assert published(place.weights_dir)[-1] == "v00000007"


def test_a_redis_that_comes_back_older_trains_nothing_twice(place: Place) -> None:
    """Put back to before a step while the trainer runs: its next step is not recorded on top, and no episode is trained again."""
    place.database_url = f"sqlite:///{place.directory}/ledger.db"
    with Stand(place, evenness) as stand, Redis.from_url(place.redis_url) as redis:
        stand.train(rounds=4)
        stand.bandit.play(stand.learner, 4)
        names = redis.keys(f"turngate:{{{place.project}}}:*")
        older = {name: redis.dump(name) for name in names}
        stand.train(rounds=1)
        stand.bridge.call(settle, stand.store, stand.ledger)
        trained = len(stand.bridge.call(stand.ledger.trained_episodes, place.project))
        redis.delete(*redis.keys(f"turngate:{{{place.project}}}:*"))
        for name, content in older.items():
            redis.restore(name, 0, content)

        stand.train(rounds=1)

        assert stand.progress.version == 5
        assert stand.metric("turngate_training_alerts_total", kind="claim_lost") == 1
        assert stand.train(rounds=1).version == 7
        stand.bridge.call(settle, stand.store, stand.ledger)
        policies = PolicyStore(place.weights_dir)
        report = stand.bridge.call(Audit(stand.store, stand.ledger, policies=policies).run)
        assert report.offenders == ()
        assert report.trained == trained + GROUPS * stand.bandit.group_size


def test_a_half_written_checkpoint_is_not_taken(place: Place) -> None:
    """A directory under a temporary name is not a checkpoint, and the next start deletes it."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=5)
    whole = place.checkpoint_dir / "v00000005"
    shutil.copytree(whole, place.checkpoint_dir / ".v00000010.partial")
    with Stand(place, evenness) as stand:
        assert stand.checkpoints.newest() == 5
        assert stand.progress.version == 5
    assert [each.name for each in place.checkpoint_dir.iterdir()] == ["v00000005"]


def test_another_model_is_refused_before_it_is_loaded(place: Place, tmp_path: Path) -> None:
    """A project whose policy has another configuration stops the start; nothing is recorded."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=1)
    other = tmp_path / "other"
    create_untrained(other, seed=0, layers=1, hidden=64)
    with (
        pytest.raises(SettingsError, match="another model"),
        Stand(replace(place, model_dir=other), evenness),
    ):
        pass
    assert published(place.weights_dir) == ["v00000000", "v00000001"]
