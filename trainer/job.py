"""One training job: built from its settings, run, and closed."""

import gc
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Self

import torch
from prometheus_client import CollectorRegistry, start_http_server

from rollout.engine.factory import EngineFactory
from rollout.ledger.ledger import Ledger
from rollout.policies import PolicyStore
from rollout.ready_file import ReadyFile
from rollout.settings import SettingsError
from rollout.store.sharded.sharded_store import open_store
from rollout.store.transitions import Timings
from trainer.advice.rules.findings import vetted
from trainer.async_bridge import AsyncBridge
from trainer.batch.staleness import StalenessRule
from trainer.feed.feed import Feed
from trainer.feed.replay_buffer import ReplayBuffer
from trainer.learner.learner import CreateLearner, FrozenPolicy, Learner
from trainer.learner_settings import critic, layout, lora, optimizer
from trainer.loop import Trainer
from trainer.objective.objective import Objective
from trainer.publish.best_policies import BestPolicies
from trainer.publish.checkpoints import Checkpoints, Progress
from trainer.publish.publisher import Publisher
from trainer.publish.resume import Resumption
from trainer.publish.training_records import TrainingRecords
from trainer.ranks import Ranks
from trainer.settings import Settings
from trainer.telemetry.metric_writers import MetricWriter, TensorBoardWriter, WandbWriter
from trainer.telemetry.report import Report
from trainer.telemetry.step_trace import StepTrace

log = logging.getLogger("trainer")


class TrainingJob:
    """Open it, then `run` it; closing releases the groups that are still claimed."""

    def __init__(
        self,
        settings: Settings,
        bridge: AsyncBridge,
        *,
        create_learner: CreateLearner,
        closing: ExitStack,
    ) -> None:
        self._settings, self._bridge, self._closing = settings, bridge, closing
        self._create_learner = create_learner
        self._parts = vetted(settings)
        self._staleness = StalenessRule(settings.max_staleness, settings.stale_tokens)
        self._registry = CollectorRegistry()
        self._report = Report(self._registry)
        bridge.on_wait(lambda error: self._report.alert("waiting", error=str(error)))
        timings = Timings(retention=settings.retention_seconds)
        self._store = open_store(
            settings.redis_url,
            project=settings.project,
            timings=timings,
            num_shards=settings.store_shards,
        )
        closing.callback(bridge.close, self._store.close)
        rank = int(os.environ.get("RANK", "0"))
        self.trace = StepTrace(settings.checkpoint_dir / "traces", rank=rank)
        self._rank = rank
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        if rank == 0:
            bridge.call(self._store.prepare)
            # Before the recorded policy is read: from here on no other trainer changes it.
            bridge.call(self._store.take_over, self._owner)
        self._policies = PolicyStore(settings.weights_dir)
        self._checkpoints = Checkpoints(
            settings.checkpoint_dir,
            every_steps=settings.checkpoint_every_steps,
            keep=settings.checkpoints_kept,
        )

    @classmethod
    @contextmanager
    def open(
        cls, settings: Settings, bridge: AsyncBridge, *, create_learner: CreateLearner
    ) -> Iterator[Self]:
        with ExitStack() as closing:
            yield cls(settings, bridge, create_learner=create_learner, closing=closing)

    def run(self) -> None:
        """Resume, train until the process is asked to stop, and write a checkpoint."""
        ledger = self._ledger() if self._rank == 0 else None
        records = None if ledger is None else self._records(ledger)
        if records is not None:
            records.catch_up(self._policies, restorable=self._checkpoints.newest())
        resumption = Resumption(
            self._store, self._bridge, self._checkpoints, self._settings.model_dir
        )
        learner = self._learner(resumption)
        ranks = Ranks.join()
        publisher = self._publisher(ranks, records, None if ledger is None else self._best(ledger))
        resume = partial(resumption.resume, learner, publisher, ranks)
        progress = resume()
        if ranks.is_primary:
            self._closing.enter_context(listening(self._settings, self._registry))
        self._report.serving(progress.version)
        trainer = Trainer(
            feed=self._feed(ranks, progress),
            learner=learner,
            objective=Objective(self._parts, self._settings.flagged_tokens, self._staleness),
            reference=self._reference(learner),
            publisher=publisher,
            checkpoints=self._checkpoints,
            report=self._report,
            records=records,
            writers=self._writers(learner.steps) if ranks.is_primary else (),
            trace=self.trace,
            token_budget=self._settings.tokens_per_microbatch,
            ranks=ranks,
            resume=resume,
        )
        trainer.ensure_checkpoint(progress)
        with trainer.feed.open(
            max_live_episodes=self._settings.max_live_episodes,
            per_key=self._settings.max_live_episodes_per_key,
        ):
            progress = trainer.train(progress)
        trainer.ensure_checkpoint(progress)
        trainer.finish_checkpoint()
        log.info("stopped", extra={"step": learner.steps, "version": progress.version})

    def _learner(self, resumption: Resumption) -> Learner:
        learner = self._create_learner(
            resumption.starting_weights(),
            optimizer(self._settings),
            layout=layout(self._settings),
            dtype=getattr(torch, self._settings.dtype),
            recompute=self._settings.recompute,
            seed=self._settings.seed,
            lora=lora(self._settings),
            critic=critic(self._settings),
        )
        log.info("learner built", extra={"numbers_trained": learner.num_trained})
        self._closing.callback(learner.close)
        # Megatron collects garbage at each checkpoint: without the half a million objects of its imports, which stay, in 5 ms.
        gc.collect()
        gc.freeze()
        return learner

    def _reference(self, learner: Learner) -> FrozenPolicy | None:
        if not self._parts.needs_reference:
            return None
        return learner.freeze(self._settings.reference_dir or self._settings.model_dir)

    def _ledger(self) -> Ledger:
        ledger = self._bridge.call_with_ledger(Ledger.open, self._settings.database_url)
        self._closing.callback(self._bridge.close, ledger.close)
        return ledger

    def _records(self, ledger: Ledger) -> TrainingRecords:
        return TrainingRecords(self._store, ledger, self._bridge, project=self._settings.project)

    def _best(self, ledger: Ledger) -> BestPolicies:
        return BestPolicies(
            ledger,
            self._bridge,
            project=self._settings.project,
            kept=self._settings.best_kept,
            min_episodes=self._settings.best_min_episodes,
        )

    def _writers(self, steps: int) -> list[MetricWriter]:
        writers: list[MetricWriter] = []
        if (directory := self._settings.tensorboard_dir) is not None:
            writers.append(TensorBoardWriter(directory, after_step=steps))
        if (directory := self._settings.wandb_dir) is not None:
            writers.append(WandbWriter(directory, project=self._settings.project))
        for writer in writers:
            self._closing.callback(writer.close)
        return writers

    def _publisher(
        self, ranks: Ranks, records: TrainingRecords | None, best: BestPolicies | None
    ) -> Publisher:
        factory = EngineFactory.for_settings(self._settings)
        engines = [factory.open(url) for url in self._settings.engines]
        for engine in engines:
            self._closing.callback(self._bridge.close, engine.close)
        return Publisher(
            self._store,
            self._bridge,
            ranks,
            policies=self._policies,
            base_dir=self._settings.model_dir,
            engines=engines,
            policies_kept=self._settings.policies_kept,
            report=self._report,
            records=records,
            best=best,
        )

    def _feed(self, ranks: Ranks, progress: Progress) -> Feed:
        return Feed(
            self._store,
            self._bridge,
            ranks,
            groups_per_batch=self._settings.groups_per_batch,
            staleness=self._staleness,
            buffer=ReplayBuffer(
                self._settings.buffer_groups or self._settings.groups_per_batch,
                order=self._settings.batch_order,
                seed=self._settings.seed,
            ),
            lease_seconds=self._settings.lease_seconds,
            version=progress.version,
            report=self._report,
            owner=self._owner,
            most_replaced=round(self._parts.dynamic_sampling * self._settings.groups_per_batch),
        )


@contextmanager
def listening(settings: Settings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve /metrics, and write its address to the ready file."""
    host = settings.metrics_host
    try:
        server, thread = start_http_server(settings.metrics_port, addr=host, registry=registry)
    except OSError as error:
        raise SettingsError(
            f"TURNGATE_TRAINER_METRICS_PORT: {host}:{settings.metrics_port}: {error.strerror}; "
            "choose another port, or 0 for a free one"
        ) from error
    try:
        port = server.server_port
        if settings.ready_file is not None:
            ReadyFile(settings.ready_file).write(host=host, metrics_port=port)
        log.info("ready", extra={"metrics": f"http://{host}:{port}/metrics"})
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
