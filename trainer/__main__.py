"""`python -m trainer`, or under torchrun: train the policy that the gateway serves until SIGTERM.

SIGTERM lets the running step end, writes a checkpoint, gives claimed groups back and exits with 0.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import torch
from prometheus_client import CollectorRegistry, start_http_server

from rollout.engine_control import EngineControl
from rollout.policies import PolicyStore
from rollout.store import Store
from trainer import logs
from trainer.checkpoints import Checkpoints
from trainer.feed import Feed
from trainer.lineage import recorded_policy, resume, starting_weights
from trainer.loop import train
from trainer.megatron.layout import Layout
from trainer.megatron.learner import Learner
from trainer.megatron.optimizer import OptimizerSettings
from trainer.objective import Objective
from trainer.portal import Portal, Stopped
from trainer.publish import Publisher
from trainer.ranks import Ranks
from trainer.report import Report
from trainer.settings import Settings, SettingsError, load_settings

log = logging.getLogger("trainer")


def main() -> int:
    logs.configure()
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with Portal.open() as portal, stopping_on_signals(portal):
        try:
            run(settings, portal)
        except Stopped as reason:
            log.info("stopped", extra={"while": str(reason)})
    return 0


def run(settings: Settings, portal: Portal) -> None:
    """Connect, take up the work where it was left, train until told to stop, leave a checkpoint."""
    with ExitStack() as closing:
        store = Store.connect(settings.redis_url, project=settings.project)
        closing.callback(portal.call, store.close)
        report = Report(registry := CollectorRegistry())
        checkpoints = Checkpoints(
            settings.checkpoint_dir,
            every_steps=settings.checkpoint_every_steps,
            keep=settings.checkpoints_kept,
        )
        recorded = recorded_policy(store, portal)
        weights = starting_weights(recorded, checkpoints, settings.model_dir)
        learner = closing.enter_context(
            Learner.create(
                weights,
                optimizer_settings(settings),
                layout=layout(settings),
                dtype=getattr(torch, settings.dtype),
                seed=settings.seed,
            )
        )
        ranks = Ranks.join()
        publisher = Publisher(
            store,
            portal,
            ranks,
            policies=PolicyStore(settings.weights_dir),
            base_dir=settings.model_dir,
            engines=closing.enter_context(engine_controls(settings, portal)),
            policies_kept=settings.policies_kept,
            report=report,
        )
        progress = resume(
            learner,
            recorded,
            checkpoints=checkpoints,
            publisher=publisher,
            store=store,
            portal=portal,
            ranks=ranks,
            model_dir=settings.model_dir,
        )
        feed = Feed(
            store,
            portal,
            ranks,
            groups_per_batch=settings.groups_per_batch,
            max_staleness=settings.max_staleness,
            lease_seconds=settings.lease_seconds,
            version=progress.version,
        )
        if ranks.is_primary:
            closing.enter_context(listening(settings, registry))
        report.serving(progress.version)
        with feed.open(max_live_episodes=settings.max_live_episodes):
            progress = train(
                learner,
                feed,
                publisher,
                objective=objective(settings),
                checkpoints=checkpoints,
                report=report,
                progress=progress,
                token_budget=settings.tokens_per_microbatch,
                ranks=ranks.size,
            )
        if learner.steps:
            checkpoints.save(learner, progress)
        log.info("stopped", extra={"step": learner.steps, "version": progress.version})


def optimizer_settings(settings: Settings) -> OptimizerSettings:
    return OptimizerSettings(
        learning_rate=settings.learning_rate,
        beta1=settings.beta1,
        beta2=settings.beta2,
        weight_decay=settings.weight_decay,
        clip_gradient_norm=settings.clip_gradient_norm,
        warmup_steps=settings.warmup_steps,
    )


def layout(settings: Settings) -> Layout:
    return Layout(
        tensor_parallel=settings.tensor_parallel,
        pipeline_parallel=settings.pipeline_parallel,
        sequence_parallel=settings.sequence_parallel,
    )


def objective(settings: Settings) -> Objective:
    return Objective(
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        correction=settings.correction,
        correction_low=settings.correction_low,
        correction_high=settings.correction_high,
    )


@contextmanager
def engine_controls(settings: Settings, portal: Portal) -> Iterator[list[EngineControl]]:
    secret = settings.engine_admin_key
    key = None if secret is None else secret.get_secret_value()
    controls = [EngineControl(url, admin_key=key) for url in settings.engines]
    try:
        yield controls
    finally:
        for control in controls:
            portal.call(control.close)


@contextmanager
def listening(settings: Settings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve /metrics, and say in the ready file where."""
    host = settings.metrics_host
    server, thread = start_http_server(settings.metrics_port, addr=host, registry=registry)
    try:
        port = server.server_port
        log.info("ready", extra={"metrics": f"http://{host}:{port}/metrics"})
        if settings.ready_file is not None:
            partial = settings.ready_file.with_suffix(".partial")
            partial.write_text(json.dumps({"host": host, "metrics_port": port}))
            partial.rename(settings.ready_file)
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def stopping_on_signals(portal: Portal) -> Iterator[None]:
    """SIGTERM and SIGINT ask the loop to end; a second one of them kills."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        portal.stop()

    assert threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
