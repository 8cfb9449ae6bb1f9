"""The demo: an agent uses a small model through Turngate, and the model learns from it.

Makes the starter, starts a stack of its own, measures held-out tasks, lets agents play while the trainer trains, measures again, and
exports the best policy.
Nothing is simulated: engine, gateway, store and trainer are those of `turngate up`.
"""

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.demo.alongside import alongside
from deploy.demo.clerk.subject import CLERK
from deploy.demo.curve import draw_curve
from deploy.demo.harness import Harness, Judge, Played, honest
from deploy.demo.history import History
from deploy.demo.observer import Observer
from deploy.demo.own_stack import own_stack
from deploy.demo.starter.starter import ensure_starter
from deploy.demo.subject import Subject
from deploy.demo.summary import Best, Summary, summarize
from deploy.demo.traffic import Traffic
from deploy.demo.view import View
from deploy.errors import DeployError
from deploy.gateway_api.gateway_client import GatewayClient
from deploy.gateway_api.policy import best_of, export, parse_policies
from deploy.stack.stack import Announcement

EVALUATING_AGENTS = 12
CONCURRENT_GROUPS = 3  # of eight agents each
CONNECTIONS = 64
STALL_SECONDS = 180.0  # a step takes about two
SETTLING_SECONDS = 60.0
ENOUGH_HELD_OUT = 30  # to be the best; all of them, if there are fewer


@dataclass(frozen=True, slots=True)
class DemoOptions:
    subject: Subject = CLERK
    steps: int = 40
    seed: int = 0
    held_out: int = 200
    directory: Path = Path(
        ".turngate/demo"
    )  # of curve.png, summary.json, best/ and the stack's data
    cache_dir: Path = Path(".turngate/cache")
    keep: bool = False  # the stack's data and logs


async def run_demo(options: DemoOptions, console: Console, judge: Judge = honest) -> Summary:
    """Text for people goes to `console`; the summary is the result."""
    started = time.monotonic()
    starter = await asyncio.to_thread(
        ensure_starter,
        options.cache_dir,
        options.seed,
        subject=options.subject,
        progress=console.print,
    )
    with fresh_directory(options) as data_dir:
        console.print(f"starting Redis, SGLang, gateway and trainer in {data_dir}", markup=False)
        enough = {"TURNGATE_BEST_MIN_EPISODES": str(min(ENOUGH_HELD_OUT, options.held_out))}
        async with own_stack(starter, data_dir, seed=options.seed, settings=enough) as stack:
            lesson = Lesson(stack, options, console, judge)
            best = await lesson.run()
    curve = (options.directory / "curve.png").resolve()
    draw_curve(lesson.history, curve)
    summary = summarize(
        lesson.history,
        lesson.traffic,
        lesson.observer,
        wall_seconds=time.monotonic() - started,
        curve=curve,
        best=best,
    )
    (options.directory / "summary.json").write_text(json.dumps(summary.as_json(), indent=2) + "\n")
    return summary


@contextmanager
def fresh_directory(options: DemoOptions) -> Iterator[Path]:
    """An empty data directory; it is kept if `options.keep` is set or the demo fails."""
    options.directory.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="stack-", dir=options.directory.resolve()))
    yield directory
    if not options.keep:
        shutil.rmtree(directory)


class Lesson:
    """The course of the demo on one running stack."""

    def __init__(
        self, stack: Announcement, options: DemoOptions, console: Console, judge: Judge
    ) -> None:
        self.history = History()
        self.traffic = Traffic(CONNECTIONS)
        self.observer = Observer(stack.metrics_urls)
        self._stack, self._options, self._judge = stack, options, judge
        self._view = View(console, self.history, self.traffic, self.observer)
        self._harness = Harness(stack.base_url.removesuffix("/v1"), stack.project_key, self.traffic)

    async def run(self) -> Best:
        root = self._stack.base_url.removesuffix("/v1")
        async with (
            aclosing(self.traffic),
            GatewayClient(root, self._stack.admin_key) as gateway,
            alongside(self.observer.watch()),
            self._view.shown(),
        ):
            self._view.enter("held-out tasks, before")
            await self._evaluate(self.history.before)
            self._view.enter("agents play, the trainer trains")
            await self._train(gateway)
            self._view.enter("held-out tasks, after")
            await self._evaluate(self.history.after)
            self._view.enter("settling")
            await self._settle(gateway)
            return await self._take_best(gateway)

    async def _evaluate(self, played: list[Played]) -> None:
        tasks = self._options.subject.held_out_tasks(self._options.seed, self._options.held_out)
        await self._harness.evaluate(tasks, agents=EVALUATING_AGENTS, note=played.append)

    async def _train(self, gateway: GatewayClient) -> None:
        """Play until the trainer has taken its steps; it trains meanwhile."""
        closing = asyncio.Event()
        tasks = self._options.subject.training_tasks(f"episodes-{self._options.seed}")
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENT_GROUPS):
                agents = self._harness.train(
                    tasks, judge=self._judge, closing=closing, note=self.history.trained.append
                )
                group.create_task(agents)
            await self._steps_taken()
            await gateway.pause_training()
            closing.set()
        # The measured policy must not change: a batch that is already claimed is trained and swapped in first.
        await self.observer.until(lambda seen: seen.is_still, stalled=SETTLING_SECONDS)

    async def _steps_taken(self) -> None:
        steps = self._options.steps
        try:
            await self.observer.until(
                lambda seen: seen.policy_version >= steps, stalled=STALL_SECONDS
            )
        except TimeoutError:
            raise DeployError(
                f"no new policy for {STALL_SECONDS:g} s; the logs are in {self._stack.data_dir}/logs"
            ) from None

    async def _settle(self, gateway: GatewayClient) -> None:
        """Delete the episodes that came too late to be trained, so that every episode has a disposition."""
        await self.observer.until(lambda seen: seen.claimed_episodes == 0, stalled=SETTLING_SECONDS)
        for episode_id in await gateway.live_episodes():
            await gateway.delete_episode(episode_id)
        await self.observer.until(lambda seen: seen.live_episodes == 0, stalled=SETTLING_SECONDS)

    async def _take_best(self, gateway: GatewayClient) -> Best:
        """Export the best policy, after the ledger has all held-out episodes."""
        version = self.observer.latest.policy_version
        played = sum(played.version == version for played in self.history.after)
        await self.observer.until(
            lambda seen: seen.evaluation_episodes(version) >= played, stalled=SETTLING_SECONDS
        )
        policy = best_of(parse_policies(await gateway.policies()))
        out = (self._options.directory / "best").resolve()
        shutil.rmtree(out, ignore_errors=True)  # of the last demo
        await asyncio.to_thread(export, policy, out)
        return Best.of(policy, out)
