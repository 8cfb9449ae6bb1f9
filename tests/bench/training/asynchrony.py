"""Asynchronous against synchronous training on the same work: the demo's stack and task, with tools that keep their agents waiting.

How long the tools of one episode take is log-normal with sigma 1, so that a few episodes take ten times the median. Everything else
is real. The simulator's prediction from the times measured on the way stands beside each figure.
"""

import asyncio
import random
import sys
import tempfile
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx2
from rich.table import Table

from deploy.demo.alongside import alongside
from deploy.demo.clerk.tasks import Task, training_tasks
from deploy.demo.harness import Harness
from deploy.demo.observer import Observation, Observer
from deploy.demo.own_stack import own_stack
from deploy.demo.starter.starter import ensure_starter
from deploy.demo.traffic import Traffic
from deploy.stack.stack import Announcement
from trainer.advice.simulation import LogNormal, Workload, simulate

GROUP_SIZE, GROUPS_PER_BATCH = 4, 16
TOOL_SECONDS = 1.5  # median wait after a tool call, of which an episode has about two or three
SIGMA = 1.0
WARM_UP_STEPS, STEPS = 2, 8
STALLED_SECONDS = 600.0
CONNECTIONS = 256
CACHE = Path(".turngate/cache")


@dataclass(frozen=True, slots=True)
class Figure:
    """One run, between its warm-up and its last step. `predicted` is the simulator's."""

    max_staleness: int
    seconds_per_batch: float
    predicted_seconds_per_batch: float
    staleness_mean: float
    predicted_staleness_mean: float
    staleness_max: float
    discarded_fraction: float
    speed_up: float
    predicted_speed_up: float


class SlowTools(Traffic):
    """Every call that brings a tool's result has waited for it; the tools of one episode are all as slow.

    The n-th episode that plays is as slow in every run.
    """

    def __init__(self) -> None:
        super().__init__(CONNECTIONS)
        self.num_waits = 0
        self._source = random.Random(0)
        self._seconds: dict[str, float] = {}  # by the address of the episode

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if path.endswith("/chat/completions"):
            if path not in self._seconds:
                self._seconds[path] = LogNormal(TOOL_SECONDS, SIGMA).draw(self._source)
            if b'"role":"tool"' in request.content:
                self.num_waits += 1
                await asyncio.sleep(self._seconds[path])
        return await super().handle_async_request(request)


@dataclass(frozen=True, slots=True)
class Run:
    """What the stack said of itself at both ends of the measured stretch, and how long that was."""

    max_staleness: int
    before: Observation
    after: Observation
    seconds: float
    waits_per_episode: float

    def grown(self, name: str, **labels: str) -> float:
        return self.after.total(name, **labels) - self.before.total(name, **labels)

    def mean(self, histogram: str, **labels: str) -> float:
        count = self.grown(f"{histogram}_count", **labels)
        return self.grown(f"{histogram}_sum", **labels) / count if count else 0.0

    @property
    def steps(self) -> int:
        return self.after.policy_version - self.before.policy_version

    @property
    def workload(self) -> Workload:
        """What the simulator is told: the times seen on the way."""
        phases = ("prepare", "logprobs", "step", "publish")
        step = sum(self.mean("turngate_training_phase_seconds", phase=phase) for phase in phases)
        turns = 1 + self.waits_per_episode
        return Workload(
            turns=LogNormal(1),
            turn_seconds=LogNormal(turns * self.mean("turngate_request_seconds", route=ROUTE)),
            tool_seconds=LogNormal(self.waits_per_episode * TOOL_SECONDS, SIGMA),
            engine_slots=CONNECTIONS,
            group_size=GROUP_SIZE,
            groups_per_batch=GROUPS_PER_BATCH,
            step_seconds=step,
            swap_seconds=self.mean("turngate_training_phase_seconds", phase="swap"),
        )


ROUTE = "/v1/chat/completions"


def run() -> list[Figure]:
    starter = ensure_starter(CACHE, 0, progress=lambda line: sys.stderr.write(f"{line}\n"))
    runs = [asyncio.run(measured(starter, max_staleness)) for max_staleness in (0, 1)]
    predicted = [simulate(r.workload, max_staleness=r.max_staleness, steps=400) for r in runs]
    batch = GROUP_SIZE * GROUPS_PER_BATCH
    return [
        Figure(
            max_staleness=one.max_staleness,
            seconds_per_batch=one.seconds / one.steps,
            predicted_seconds_per_batch=batch / guess.episodes_per_second,
            staleness_mean=one.mean("turngate_training_staleness"),
            predicted_staleness_mean=guess.staleness_mean,
            staleness_max=one.after.quantile("turngate_training_staleness", 1.0),
            discarded_fraction=discarded_fraction(one),
            speed_up=(runs[0].seconds / runs[0].steps) / (one.seconds / one.steps),
            predicted_speed_up=guess.episodes_per_second / predicted[0].episodes_per_second,
        )
        for one, guess in zip(runs, predicted, strict=True)
    ]


def discarded_fraction(run: Run) -> float:
    stale = run.grown("turngate_episodes_total", disposition="stale")
    return stale / (stale + run.steps * GROUP_SIZE * GROUPS_PER_BATCH)


async def measured(starter: Path, max_staleness: int) -> Run:
    """One stack from start to its last step."""
    settings = {
        "TURNGATE_TRAINER_MAX_STALENESS": str(max_staleness),
        "TURNGATE_TRAINER_GROUP_SIZE": str(GROUP_SIZE),
        "TURNGATE_TRAINER_GROUPS_PER_BATCH": str(GROUPS_PER_BATCH),
        "TURNGATE_TRAINER_LEARNING_RATE": "1e-5",  # the policy stays as slow as it is
    }
    with tempfile.TemporaryDirectory(prefix="tg-asynchrony-") as directory:
        async with own_stack(starter, Path(directory), seed=0, settings=settings) as stack:
            return await play(stack, max_staleness)


async def play(stack: Announcement, max_staleness: int) -> Run:
    """As many groups at once as can be admitted; both runs get the same tasks and the same slow episodes."""
    observer, tools = Observer(stack.metrics_urls), SlowTools()
    root = stack.base_url.removesuffix("/v1")
    harness = Harness(root, stack.project_key, tools, group_size=GROUP_SIZE)
    closing, clock = asyncio.Event(), asyncio.get_running_loop().time
    tasks = training_tasks("asynchrony")
    num_ended = 0

    def note(_: object) -> None:
        nonlocal num_ended
        num_ended += 1

    async with aclosing(tools), alongside(observer.watch()), asyncio.TaskGroup() as group:
        players = [
            group.create_task(harness.train(tasks, judge=Task.reward, closing=closing, note=note))
            for _ in range((max_staleness + 1) * GROUPS_PER_BATCH)
        ]
        await reach(observer, WARM_UP_STEPS)
        before, started = observer.latest, clock()
        await reach(observer, WARM_UP_STEPS + STEPS)
        after, seconds = observer.latest, clock() - started
        closing.set()
        for player in players:
            player.cancel()
    return Run(max_staleness, before, after, seconds, tools.num_waits / num_ended)


async def reach(observer: Observer, version: int) -> None:
    await observer.until(lambda seen: seen.policy_version >= version, stalled=STALLED_SECONDS)


def table(figures: list[Figure]) -> Table:
    title = f"Asynchronous against synchronous: tool latency log-normal, sigma {SIGMA:g} (simulator's prediction)"
    result = Table(title=title)
    for column in ("max staleness", "s/batch", "speed-up", "staleness mean, max", "stale"):
        result.add_column(column, justify="right")
    for figure in figures:
        result.add_row(
            str(figure.max_staleness),
            f"{figure.seconds_per_batch:.1f} ({figure.predicted_seconds_per_batch:.1f})",
            f"{figure.speed_up:.2f} ({figure.predicted_speed_up:.2f})",
            f"{figure.staleness_mean:.2f} ({figure.predicted_staleness_mean:.2f}), {figure.staleness_max:g}",
            f"{figure.discarded_fraction:.1%}",
        )
    return result
