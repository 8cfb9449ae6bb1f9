"""A trainer on a test bench: real Redis, real learner, weights on disk, no engines; the bandit plays."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self
from uuid import uuid4

from prometheus_client import CollectorRegistry

from rollout.episode.group import Claim
from rollout.ledger.ledger import Ledger
from rollout.policies import PolicyStore
from rollout.store.store import Store
from tests.trainer.bandit import Bandit
from trainer.async_bridge import AsyncBridge
from trainer.backends import BACKENDS
from trainer.batch.staleness import StalenessRule
from trainer.composition.composition import Composition
from trainer.feed.feed import Feed
from trainer.feed.replay_buffer import ReplayBuffer
from trainer.learner.learner import CreateLearner, Learner
from trainer.learner.lora import Lora
from trainer.learner.optimizer import OptimizerSettings
from trainer.loop import Trainer
from trainer.objective.objective import Objective
from trainer.publish.best_policies import BestPolicies
from trainer.publish.checkpoints import Checkpoints, Progress
from trainer.publish.publisher import Publisher
from trainer.publish.resume import Resumption
from trainer.publish.training_records import TrainingRecords
from trainer.ranks import Ranks
from trainer.telemetry.metric_writers import MetricWriter
from trainer.telemetry.report import Report
from trainer.telemetry.step_metrics import STEP_METRICS, StepMetric
from trainer.telemetry.step_trace import StepTrace

GROUPS = 4
LEASE_SECONDS = 30.0
MIN_EPISODES = 4


class RoundsOfPlay(Feed):
    """The bandit plays one batch before each claim; the feed ends after `rounds` batches."""

    learner: Learner
    bandit: Bandit
    rounds: int

    def __iter__(self) -> Iterator[list[Claim]]:
        for _ in range(self.rounds):
            self.bandit.play(self.learner, self.version)
            yield next(super().__iter__())


@dataclass
class Place:
    """What outlives a trainer: the project in Redis, the directories."""

    redis_url: str
    directory: Path
    model_dir: Path
    project: str = ""
    later_seconds: float = 0.0  # how far the store's clock is ahead
    database_url: str | None = None  # without one the trainer keeps no ledger
    lora: Lora | None = None
    parts: Composition = field(default_factory=Composition)
    policies_kept: int = 100
    checkpoint_every: int = 5
    create_learner: CreateLearner = BACKENDS["megatron"]
    step_metrics: Sequence[StepMetric] = STEP_METRICS

    def __post_init__(self) -> None:
        self.project = self.project or f"test-{uuid4().hex[:8]}"

    def clock(self) -> float:
        return time.time() + self.later_seconds

    @property
    def weights_dir(self) -> Path:
        return self.directory / "weights"

    @property
    def checkpoint_dir(self) -> Path:
        return self.directory / "checkpoints"


class Stand:
    """One life of a trainer at a place. Leaving the block is a crash: nothing is released or saved."""

    def __init__(self, place: Place, reward: Callable[[int], float]) -> None:
        self.place = place
        self._reward = reward
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            self._start(closing)
            self._closing = closing.pop_all()
        return self

    def _start(self, closing: ExitStack) -> None:
        place = self.place
        self.bridge = closing.enter_context(AsyncBridge.open())
        self.store = Store.connect(place.redis_url, project=place.project, clock=place.clock)
        closing.callback(self.bridge.close, self.store.close)
        self.checkpoints = Checkpoints(
            place.checkpoint_dir, every_steps=place.checkpoint_every, keep=2
        )
        self.registry = CollectorRegistry()
        self.report = Report(self.registry, step_metrics=place.step_metrics)
        self.writers: list[MetricWriter] = []
        self.trace = StepTrace(place.directory / "traces")
        resumption = Resumption(self.store, self.bridge, self.checkpoints, place.model_dir)
        settings = OptimizerSettings(learning_rate=5e-3)
        rate = place.parts.critic_learning_rate
        critic = OptimizerSettings(rate) if place.parts.needs_critic else None
        self.learner = place.create_learner(
            resumption.starting_weights(), settings, lora=place.lora, critic=critic
        )
        closing.callback(self.learner.close)
        self.publisher = Publisher(
            self.store,
            self.bridge,
            Ranks(),
            policies=PolicyStore(place.weights_dir),
            base_dir=place.model_dir,
            engines=[],
            policies_kept=place.policies_kept,
            report=self.report,
            records=self._records(closing),
            best=self._best(),
        )
        self.resume = partial(resumption.resume, self.learner, self.publisher, Ranks())
        self.progress = self.resume()
        self.bandit = Bandit(self.store, self.bridge, self._reward, groups=GROUPS)
        self.feed = RoundsOfPlay(
            self.store,
            self.bridge,
            Ranks(),
            groups_per_batch=GROUPS,
            staleness=StalenessRule(4),
            buffer=ReplayBuffer(GROUPS),
            lease_seconds=LEASE_SECONDS,
            version=self.progress.version,
            report=self.report,
            owner=f"stand-{uuid4().hex[:8]}",
        )
        self.feed.learner, self.feed.bandit = self.learner, self.bandit

    def _records(self, closing: ExitStack) -> TrainingRecords | None:
        if self.place.database_url is None:
            return None
        self.ledger = self.bridge.call(Ledger.open, self.place.database_url)
        closing.callback(self.bridge.close, self.ledger.close)
        return TrainingRecords(self.store, self.ledger, self.bridge, project=self.place.project)

    def _best(self) -> BestPolicies | None:
        if self.place.database_url is None:
            return None
        return BestPolicies(
            self.ledger, self.bridge, project=self.place.project, kept=1, min_episodes=MIN_EPISODES
        )

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def claim(self) -> list[Claim]:
        """A batch of what is ready, without playing."""
        return next(Feed.__iter__(self.feed))

    def trainer(self) -> Trainer:
        return Trainer(
            feed=self.feed,
            learner=self.learner,
            objective=Objective(self.place.parts),
            reference=None,
            publisher=self.publisher,
            checkpoints=self.checkpoints,
            report=self.report,
            records=None,
            writers=self.writers,
            trace=self.trace,
            token_budget=64,
            ranks=Ranks(),
            resume=self.resume,
        )

    def train(self, rounds: int) -> Progress:
        """Play and train this many batches."""
        self.feed.rounds = rounds
        with self.feed.open(max_live_episodes=1000):
            self.progress = self.trainer().train(self.progress)
        return self.progress

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, name
        return value
