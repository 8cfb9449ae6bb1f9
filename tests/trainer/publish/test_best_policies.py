"""The best policy on held-out episodes stays on disk, whatever is published, scored or crashes meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from rollout.ledger.ledger import Ledger
from rollout.policies import PolicyStore
from rollout.settler import settle
from rollout.store.store import Store
from tests.held_out import hold_out
from tests.profiles import examples
from tests.trainer.bandit import is_even, published, weights
from tests.trainer.stand import MIN_EPISODES, Place, Stand
from trainer.async_bridge import AsyncBridge
from trainer.publish.best_policies import BestPolicies
from trainer.publish.publisher import Publisher
from trainer.ranks import Ranks
from trainer.telemetry.report import Report

KEPT = 2


class OneNumber:
    """The part of a learner that a publisher uses, for a policy of one number."""

    lora = None

    def export(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield "number", torch.zeros(1)

    def export_adapters(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from ()


class PublishingMachine(RuleBasedStateMachine):
    """A trainer that publishes, and evaluators whose scores arrive at any time, for new, old and deleted policies."""

    def __init__(
        self, redis_url: str, directory: Path, model_dir: Path, bridge: AsyncBridge, ledger: Ledger
    ) -> None:
        super().__init__()
        self.redis_url, self.bridge, self.ledger = redis_url, bridge, ledger
        self.model_dir = model_dir
        self.project = uuid4().hex
        self.store = Store.connect(redis_url, project=self.project)
        self.policies = PolicyStore(directory / self.project)
        self.played: dict[int, float] = {}  # by version, what the ledger has not heard
        self.scored: dict[int, float] = {}  # what it heard while the weights were there
        self.newest = 0
        self.start()

    def start(self) -> None:
        """One life of the trainer."""
        best = BestPolicies(
            self.ledger, self.bridge, project=self.project, kept=1, min_episodes=MIN_EPISODES
        )
        self.publisher = Publisher(
            self.store,
            self.bridge,
            Ranks(),
            policies=self.policies,
            base_dir=self.model_dir,
            engines=[],
            policies_kept=KEPT,
            report=Report(CollectorRegistry()),
            records=None,
            best=best,
        )

    @initialize()
    def adopt(self) -> None:
        self.publisher.adopt_starter(self.model_dir)

    @rule(times=st.integers(1, 4))
    def publish(self, times: int) -> None:
        for _ in range(times):
            policy = self.publisher.write(
                OneNumber(), self.publisher.reserve(self.newest), parent=self.newest
            )
            self.newest = policy.version
            self.publisher.record(policy)
            self.publisher.swap()

    @rule(is_written=st.booleans(), is_recorded=st.booleans())
    def crash(self, is_written: bool, is_recorded: bool) -> None:
        """Anywhere in a publication; the next trainer takes up from there."""
        if is_written:
            policy = self.publisher.write(
                OneNumber(), self.publisher.reserve(self.newest), parent=self.newest
            )
            if is_recorded:
                self.newest = policy.version
                self.publisher.record(policy)
        self.start()
        recorded = self.bridge.call(self.store.recorded_policy)
        assert recorded is not None
        self.newest = recorded.version
        self.publisher.remove_orphans(recorded)
        self.publisher.swap()

    @rule(back=st.integers(0, 6), wins=st.integers(0, MIN_EPISODES), is_heard=st.booleans())
    def evaluate(self, back: int, wins: int, is_heard: bool) -> None:
        version = max(0, self.policies.versions()[-1] - back)
        if version not in self.played | self.scored:
            self.played[version] = wins
            rewards = [float(n < wins) for n in range(MIN_EPISODES)]
            self.bridge.call(hold_out, self.store, version, rewards)
        if is_heard:
            self.hear()

    @rule()
    def hear(self) -> None:
        """The gateway's settler, at its own time and sometimes twice."""
        self.bridge.call(settle, self.store, self.ledger)
        on_disk = self.policies.versions()
        self.scored |= {v: wins for v, wins in self.played.items() if v in on_disk}
        self.played = {v: wins for v, wins in self.played.items() if v not in on_disk}

    @rule()
    def empty_redis(self) -> None:
        """The store forgets what the ledger has heard; training begins again at the starter."""
        self.hear()
        self.bridge.call(forget, self.redis_url, self.project)
        self.start()
        self.publisher.adopt_starter(self.model_dir)
        self.hear()  # the starter may have been gone, and what it scored counts again
        self.newest = 0
        self.publisher.swap()

    @invariant()
    def the_best_is_on_disk(self) -> None:
        if self.scored:
            best = max(self.scored, key=lambda version: (self.scored[version], version))
            assert best in self.policies.versions()

    def teardown(self) -> None:
        self.bridge.close(self.store.close)


async def forget(redis_url: str, project: str) -> None:
    """Empty Redis of one project."""
    async with Redis.from_url(redis_url) as client:
        async for key in client.scan_iter(match=f"turngate:{{{project}}}:*"):
            await client.delete(key)


@pytest.fixture
def start(
    redis_url: str, tmp_path: Path, model_dir: Path
) -> Iterator[Callable[[], PublishingMachine]]:
    """Makes machines, each with a project of its own in one ledger."""
    with AsyncBridge.open() as bridge:
        ledger = bridge.call(Ledger.open, f"sqlite:///{tmp_path / 'ledger.db'}")
        yield lambda: PublishingMachine(redis_url, tmp_path, model_dir, bridge, ledger)
        bridge.close(ledger.close)


def test_the_best_that_was_on_disk_when_scored_stays(
    start: Callable[[], PublishingMachine],
) -> None:
    """The best stays in any order of publishing, scoring, reading scores and dying on any line."""
    run_state_machine_as_test(start, settings=settings(examples(0.1), stateful_step_count=25))


def test_an_emptied_redis_costs_no_score(start: Callable[[], PublishingMachine]) -> None:
    """An evaluated policy is not an orphan, even if the store does not know it."""
    machine = start()
    machine.adopt()
    machine.publish(times=4)
    machine.evaluate(back=1, wins=MIN_EPISODES, is_heard=True)
    machine.empty_redis()
    machine.crash(is_written=False, is_recorded=False)
    assert machine.policies.versions() == [0, 3]
    machine.bridge.call(hold_out, machine.store, 9, [0.5] * MIN_EPISODES)  # an engine still had it
    machine.hear()
    machine.publish(times=1)
    assert machine.policies.versions() == [3, 10]
    machine.teardown()


@pytest.fixture
def place(redis_url: str, model_dir: Path, tmp_path: Path) -> Place:
    place = Place(redis_url, tmp_path, model_dir, policies_kept=2)
    place.database_url = f"sqlite:///{tmp_path}/ledger.db"
    return place


def evenness(token: int) -> float:
    return float(is_even(token))


def evaluate(stand: Stand, version: int, reward: float) -> None:
    stand.bridge.call(hold_out, stand.store, version, [reward] * MIN_EPISODES)
    stand.bridge.call(settle, stand.store, stand.ledger)


def checkpointed(place: Place) -> list[str]:
    return sorted(path.name for path in place.checkpoint_dir.glob("v*"))


def test_training_can_go_back_to_the_best(place: Place) -> None:
    """The best gets a checkpoint while it is the newest and keeps it; without the later ones training goes on there.

    A former best goes by its age, with its checkpoint, and one that is gone takes no place.
    """
    with Stand(place, evenness) as stand:
        stand.train(rounds=2)
        evaluate(stand, 0, 2.0)
        evaluate(stand, 2, 0.25)
        stand.train(rounds=1)
        assert checkpointed(place) == ["v00000002"]
        best = weights(stand.learner)
        evaluate(stand, 3, 1.0)
        stand.train(rounds=7)
        evaluate(stand, 10, 0.5)
    assert published(place.weights_dir) == ["v00000003", "v00000009", "v00000010"]
    assert checkpointed(place) == ["v00000003", "v00000005", "v00000010"]
    for later in ("v00000005", "v00000010"):
        (place.checkpoint_dir / later).rename(place.directory / later)
    with Stand(place, evenness) as stand:
        assert all(torch.equal(best[name], tensor) for name, tensor in stand.learner.export())
        assert stand.learner.steps == 3
        policy = PolicyStore(place.weights_dir).policy(stand.progress.version)
        assert (policy.version, policy.parent) == (11, 3)
        assert "v00000003" in published(place.weights_dir)


def test_the_best_does_not_rely_on_a_checkpoint_in_the_making(place: Place) -> None:
    """If its checkpoint fails, it is written again at once: the next one would be of other weights."""
    with Stand(place, evenness) as stand:
        progress = stand.train(rounds=1)
        trainer = stand.trainer()
        place.checkpoint_dir.write_text("")
        trainer.begin_checkpoint(progress)
        trainer.ensure_checkpoint(progress)
        trainer.finish_checkpoint()
        assert stand.metric("turngate_training_alerts_total", kind="checkpoint") == 2


def test_without_sql_the_last_best_stays(place: Place) -> None:
    """Without the ledger training continues with the last known ranking."""
    with Stand(place, evenness) as stand:
        stand.train(rounds=1)
        evaluate(stand, 1, 1.0)
        stand.train(rounds=1)
        stand.bridge.call(stand.ledger.close)
        for file in place.directory.glob("ledger.db*"):
            file.rename(place.directory / f"away-{file.name}")
        (place.directory / "ledger.db").mkdir()
        assert stand.train(rounds=2).version == 4
    assert published(place.weights_dir) == ["v00000001", "v00000003", "v00000004"]
