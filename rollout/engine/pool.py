"""The engines that serve, and which of them takes a call.

A call goes to the engine its affinity key hashes to, which holds the prefix, unless that engine is much busier than the
least busy. A paused engine stays in: its calls wait until the swap is over. One that died gets no traffic until it
serves the recorded policy; one that answers and serves another policy keeps its traffic for the time of a swap.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Self

from rollout.engine.engine import Capabilities, Engine
from rollout.engine.errors import EngineError, EngineTimeout, NoEngine
from rollout.engine.factory import EngineFactory
from rollout.engine.lease import Lease
from rollout.engine.pool_member import EngineState, Member, stable_hash
from rollout.errors import RolloutError, StoreError
from rollout.served_model import AskedModel, ServedModel

PROBE_SECONDS = 2.0
PROBE_DEADLINE_SECONDS = 5.0
TIMEOUTS_UNTIL_DOWN = 3  # a machine busy with prefill answers late without being dead
SLACK_CALLS = 4  # a difference in load that is noise
TOKENS_WORTH_A_CALL = 1000  # a call may wait for one other call to find this much of its prefix

log = logging.getLogger(__name__)


class Pool:
    """Engines by URL. Make it in the event loop, run `monitor` in a task group, close it at the end."""

    def __init__(
        self,
        urls: Iterable[str],
        *,
        recorded: Callable[[], Awaitable[ServedModel | None]],
        factory: EngineFactory | None = None,
        reconcile: Callable[[list[Engine]], Awaitable[object]] | None = None,
        probe_seconds: float = PROBE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_recorded = recorded
        self._reconcile = reconcile
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._recorded: ServedModel | None = None
        self._probe_now = asyncio.Event()
        self._reconcile_now = asyncio.Event()
        open_engine = (factory or EngineFactory()).open
        engines = [open_engine(url) for url in dict.fromkeys(url.rstrip("/") for url in urls)]
        self._members = {engine.url: Member(engine) for engine in engines}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every engine's connections."""
        for engine in self.engines:
            await engine.close()

    def snapshot(self) -> list[EngineState]:
        """Every engine as the pool sees it now."""
        return [
            EngineState(url, m.is_up, m.in_flight, m.model, m.why_down)
            for url, m in self._members.items()
        ]

    @property
    def engines(self) -> list[Engine]:
        return [member.engine for member in self._members.values()]

    @property
    def capabilities(self) -> Capabilities:
        """What every engine can do."""
        return Capabilities.common(self.engines)

    def lease(
        self,
        asked: AskedModel,
        affinity_key: str,
        prompt_length: int,
        *,
        avoid: Collection[str] = (),
    ) -> Lease:
        """An engine for one call, none of `avoid` if there is another."""
        serving = self._serving(asked)
        serving = [member for member in serving if member.engine.url not in avoid] or serving
        return Lease(_least_busy(serving, affinity_key, prompt_length), self._probe_now.set)

    def _serving(self, asked: AskedModel) -> list[Member]:
        """Engines that are up and serve the model; outdated ones, and those of another model, only if there is no other."""
        up = [member for member in self._members.values() if member.is_up]
        if not up:
            recorded = None if self._recorded is None else self._recorded.version
            reasons = [
                f"{s.url}: {s.why_down or f'serves policy {s.policy_version}, not {recorded}'}"
                for s in self.snapshot()
            ]
            raise NoEngine("; ".join(reasons) or "it is empty")
        if len(up) == 1:
            return up
        now = self._clock()
        fitting = [member for member in up if member.serves(asked)] or up
        return [member for member in fitting if not member.is_stuck(now)] or fitting

    async def monitor(self) -> None:
        """Probe and reconcile until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._probe_periodically())
            if self._reconcile is not None:
                tasks.create_task(self._reconcile_on_demand(self._reconcile))

    async def probe(self) -> None:
        """Ask every engine what it serves."""
        with suppress(StoreError):  # what was recorded last holds until the store is back
            self._recorded = await self._read_recorded()
        async with asyncio.TaskGroup() as tasks:
            for member in list(self._members.values()):
                tasks.create_task(self._probe_one(member))
        if any(member.needs_swap(self._clock()) for member in self._members.values()):
            self._reconcile_now.set()

    async def _probe_one(self, member: Member) -> None:
        try:
            model = await member.engine.served_model(timeout=PROBE_DEADLINE_SECONDS)
        except EngineTimeout as error:
            member.timeouts += 1
            if member.timeouts >= TIMEOUTS_UNTIL_DOWN:
                member.lose(error.why)
        except EngineError as error:
            member.lose(error.why)
        else:
            member.answered(model, recorded=self._recorded, now=self._clock())

    async def _probe_periodically(self) -> None:
        while True:
            self._probe_now.clear()
            await self.probe()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._probe_seconds):
                    await self._probe_now.wait()

    async def _reconcile_on_demand(
        self, reconcile: Callable[[list[Engine]], Awaitable[object]]
    ) -> None:
        """A failure needs no retry here: the next probe finds the same engines again."""
        while True:
            await self._reconcile_now.wait()
            self._reconcile_now.clear()
            now = self._clock()
            outdated = [m.engine for m in self._members.values() if m.needs_swap(now)]
            try:
                await reconcile(outdated)
            except RolloutError as error:
                log.error("engines not reconciled", extra={"why": str(error)})


def _least_busy(members: list[Member], affinity_key: str, prompt_length: int) -> Member:
    """The first in the key's own order of engines that is not much busier than the least busy."""
    if len(members) == 1:
        return members[0]
    key = stable_hash(affinity_key)
    busiest = min(member.in_flight for member in members) + SLACK_CALLS
    busiest += prompt_length // TOKENS_WORTH_A_CALL
    return min(
        (member for member in members if member.in_flight <= busiest),
        key=lambda member: member.rank(key),
    )
