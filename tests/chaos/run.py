"""One run: a service, agents, faults from a seed, and the end check."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.demo.starter.starter import create_untrained
from tests.chaos.agent import Access, Agent
from tests.chaos.check import Check, Findings
from tests.chaos.faults import WEIGHTS, Fault, Faults
from tests.chaos.journal import Journal
from tests.chaos.memory import Held, observe
from tests.chaos.proxy import Proxy, running_proxy
from tests.chaos.report import Progress
from tests.chaos.service import Service, running_service


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
    settings: dict[str, str] = field(default_factory=dict)
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
    directory = Path(tempfile.mkdtemp(prefix="tg-chaos-"))
    try:
        create_untrained(directory / "model", seed=plan.seed)
        async with (
            running_service(
                directory / "model",
                directory / "data",
                engines=plan.engines,
                real_engines=plan.real_engines,
                settings=plan.settings,
            ) as service,
            running_proxy(service.port) as proxy,
        ):
            faults = Faults(
                service, proxy, random.Random(plan.seed), plan.weights, list(plan.in_order), told
            )
            yield await _play(plan, faults, Journal(directory / "journal.jsonl"))
    finally:
        if not plan.keep:
            shutil.rmtree(directory, ignore_errors=True)


async def _play(plan: Plan, faults: Faults, journal: Journal) -> Outcome:
    service, held = faults.service, Held()
    agents = _agents(plan, service, faults.proxy, journal)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(observe(service, held))
        for agent in agents:
            tasks.create_task(agent.run())
        await _inflict(plan, faults)
        for agent in agents:
            agent.stop()
        watching.cancel()
    findings = await Check(service, journal).run()
    progress = Progress.read(service, faults.seen)
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
