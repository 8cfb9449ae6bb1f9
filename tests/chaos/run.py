"""One run: a service, agents, faults from a seed, and the end check."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.demo.starter.starter import create_untrained
from tests.chaos.agent import Access, Agent
from tests.chaos.check import Check, Findings
from tests.chaos.clock import environment, library
from tests.chaos.faults import CLOCK_JUMP, WEIGHTS, Fault, Faults
from tests.chaos.history import History
from tests.chaos.journal import Journal
from tests.chaos.memory import Held, observe
from tests.chaos.proxy import Proxy, running_proxy
from tests.chaos.report import Progress
from tests.chaos.service import Service, running_service
from tests.postgres_server import running_postgres

RETENTION_SECONDS = 86_400.0  # longer than a run: its end check reads every episode


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    seconds: float = 180.0
    faults: int | None = None  # end after this number, instead of after a time
    every_seconds: float = 12.0
    agents: int = 8
    engines: int = 3
    real_engines: int = 1
    weights: dict[str, int] = field(default_factory=lambda: dict(WEIGHTS))
    in_order: tuple[str, ...] = ()  # kinds to begin with, before any is drawn
    on_postgres: bool = False  # the ledger; else on SQLite
    retention_seconds: float = RETENTION_SECONDS
    keep: bool = False  # the data directory


@dataclass(frozen=True, slots=True)
class Outcome:
    service: Service
    journal: Journal
    faults: list[Fault]
    findings: Findings
    progress: Progress
    held: Held


@asynccontextmanager
async def carried_out(plan: Plan, *, told: Callable[[str], object] = str) -> AsyncIterator[Outcome]:
    """The outcome, while the service still runs; `told` is called with each fault."""
    with _directory(plan) as directory, _ledger(plan) as ledger:
        clock, weights = directory / "clock", dict(plan.weights)
        if library() is None and weights.pop(CLOCK_JUMP, None):
            told("without clock jumps: libfaketime is not installed")
        create_untrained(directory / "model", seed=plan.seed)
        async with (
            running_service(
                directory / "model",
                directory / "data",
                engines=plan.engines,
                real_engines=plan.real_engines,
                settings=ledger
                | {"TURNGATE_RETENTION_SECONDS": str(plan.retention_seconds)}
                | (environment(clock) if CLOCK_JUMP in weights else {}),
            ) as service,
            running_proxy(service.port) as proxy,
        ):
            rng, first = random.Random(plan.seed), list(plan.in_order)
            faults = Faults(service, proxy, rng, weights, first, told, clock)
            yield await _play(plan, faults, Journal(directory / "journal.jsonl"))


@contextmanager
def _directory(plan: Plan) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="tg-chaos-"))
    try:
        yield directory
    finally:
        if not plan.keep:
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _ledger(plan: Plan) -> Iterator[dict[str, str]]:
    """The settings of the ledger."""
    if not plan.on_postgres:
        yield {}
        return
    with running_postgres() as url:
        yield {"TURNGATE_DATABASE_URL": url}


async def _play(plan: Plan, faults: Faults, journal: Journal) -> Outcome:
    service, held = faults.service, Held()
    history = History(service.ledger_url)
    agents = _agents(plan, service, faults.proxy, journal)
    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(observe(service, held)), tasks.create_task(history.follow())]
        for agent in agents:
            tasks.create_task(agent.run())
        await _inflict(plan, faults)
        for agent in agents:
            agent.stop()
        for task in watching:
            task.cancel()
    findings = await Check(service, journal, history).run()
    progress = Progress(await history.steps(), faults.seen)
    return Outcome(service, journal, faults.seen, findings, progress, held)


async def _inflict(plan: Plan, faults: Faults) -> None:
    """A fault at each tick."""
    end = time.time() + plan.seconds
    await asyncio.sleep(plan.every_seconds)
    while time.time() < end if plan.faults is None else len(faults.seen) < plan.faults:
        tick = time.time() + plan.every_seconds
        if plan.weights:
            await faults.one()
        await asyncio.sleep(max(0.0, tick - time.time()))


def _agents(plan: Plan, service: Service, proxy: Proxy, journal: Journal) -> list[Agent]:
    """Half of them reach the gateways through the relay that cuts connections."""
    urls = (service.ready.base_url, f"http://127.0.0.1:{proxy.port}/v1")
    return [
        Agent(
            Access(urls[number % 2], service.ready.project_key),
            journal,
            random.Random(f"{plan.seed} {number}"),
        )
        for number in range(plan.agents)
    ]
