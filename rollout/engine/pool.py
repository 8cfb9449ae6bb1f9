"""The engines that serve, and which of them takes a call.

A call goes to the engine its affinity key hashes to, which holds the prefix, unless that engine is much busier than the
least busy. A paused engine stays in: its calls wait out a swap. One that died gets no traffic until it answers again
with the recorded policy; one that answers with another policy keeps serving for a while, since a swap is on its way.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Self

from rollout.engine.errors import EngineError, EngineTimeout, EngineUnreachable, NoEngine
from rollout.engine.generation import Deadlines
from rollout.engine.pool_member import EngineState, Member, stable_hash
from rollout.engine.sglang.control_path import EngineControl
from rollout.engine.sglang.data_path import Engine
from rollout.errors import RolloutError, StoreError

PROBE_SECONDS = 2.0
PROBE_DEADLINE_SECONDS = 5.0
TIMEOUTS_UNTIL_DOWN = 3  # a machine busy with prefill answers late without being dead
SLACK_CALLS = 4  # a difference in load that is noise
TOKENS_WORTH_A_CALL = 1000  # for this much prefix one may queue behind one more call

log = logging.getLogger(__name__)


class Pool:
    """Engines by URL. Make it in the event loop, run `monitor` in a task group, close it at the end."""

    def __init__(
        self,
        urls: Iterable[str],
        *,
        recorded_version: Callable[[], Awaitable[int | None]],
        reconcile: Callable[[list[EngineControl]], Awaitable[object]] | None = None,
        admin_key: str | None = None,
        deadlines: Deadlines | None = None,
        vocab_size: int | None = None,
        probe_seconds: float = PROBE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recorded_version = recorded_version
        self._reconcile = reconcile
        self._admin_key = admin_key
        self._deadlines = deadlines
        self._vocab_size = vocab_size
        self._probe_seconds = probe_seconds
        self._clock = clock
        self._recorded: int | None = None
        self._members: dict[str, Member] = {}
        self._probe_now = asyncio.Event()
        self._reconcile_now = asyncio.Event()
        for url in urls:
            self.add(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def add(self, url: str) -> None:
        """Take in an engine; it serves after its first good probe. One that is here already stays."""
        url = url.rstrip("/")
        if url in self._members:
            return
        key = self._admin_key
        engine = Engine(url, admin_key=key, deadlines=self._deadlines, vocab_size=self._vocab_size)
        self._members[url] = Member(engine, EngineControl(url, admin_key=key))
        self._probe_now.set()

    async def remove(self, url: str) -> None:
        """Send it no more calls; those under way finish."""
        member = self._members.pop(url.rstrip("/"))
        member.is_removed = True
        if member.in_flight == 0:
            await member.close()

    async def close(self) -> None:
        """Close every engine's connections."""
        for url in list(self._members):
            member = self._members.pop(url)
            await member.close()

    def snapshot(self) -> list[EngineState]:
        """Every engine as the pool sees it now."""
        return [
            EngineState(url, m.is_up, m.in_flight, m.policy_version, m.why_down)
            for url, m in self._members.items()
        ]

    @property
    def controls(self) -> list[EngineControl]:
        """The control path to every engine."""
        return [member.control for member in self._members.values()]

    @asynccontextmanager
    async def lease(
        self, affinity_key: str, prompt_length: int, *, avoid: Collection[str] = ()
    ) -> AsyncIterator[Engine]:
        """An engine for one call, none of `avoid` if there is another. If the block loses it, the pool learns it at once."""
        member = self._choose(affinity_key, prompt_length, avoid=avoid)
        member.in_flight += 1
        try:
            yield member.engine
        except EngineUnreachable as error:
            member.lose(error.why)
            self._probe_now.set()
            raise
        finally:
            member.in_flight -= 1
            if member.is_removed and member.in_flight == 0:
                await member.close()

    def _choose(self, affinity_key: str, prompt_length: int, *, avoid: Collection[str]) -> Member:
        """The first in the key's own order of engines that is not much busier than the least busy."""
        serving = self._serving()
        serving = [member for member in serving if member.engine.url not in avoid] or serving
        key = stable_hash(affinity_key)
        serving.sort(key=lambda member: member.rank(key))
        busiest = min(m.in_flight for m in serving) + SLACK_CALLS
        busiest += prompt_length // TOKENS_WORTH_A_CALL
        return next(member for member in serving if member.in_flight <= busiest)

    def _serving(self) -> list[Member]:
        """Engines that are up; those stuck behind only if there is no other."""
        up = [member for member in self._members.values() if member.is_up]
        if not up:
            reasons = [
                f"{url}: {m.why_down or f'serves policy {m.policy_version}, not {self._recorded}'}"
                for url, m in self._members.items()
            ]
            raise NoEngine("; ".join(reasons) or "it is empty")
        now = self._clock()
        return [member for member in up if not member.is_stuck(now)] or up

    async def monitor(self) -> None:
        """Probe and reconcile until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._probe_periodically())
            if self._reconcile is not None:
                tasks.create_task(self._reconcile_on_demand(self._reconcile))

    async def probe(self) -> None:
        """Ask every engine what it serves."""
        with suppress(StoreError):  # what was recorded last holds until the store is back
            self._recorded = await self._recorded_version()
        async with asyncio.TaskGroup() as tasks:
            for member in list(self._members.values()):
                tasks.create_task(self._probe_one(member))
        if any(member.needs_swap(self._clock()) for member in self._members.values()):
            self._reconcile_now.set()

    async def _probe_one(self, member: Member) -> None:
        try:
            info = await member.control.model_info(timeout=PROBE_DEADLINE_SECONDS)
        except EngineTimeout as error:
            member.timeouts += 1
            if member.timeouts >= TIMEOUTS_UNTIL_DOWN:
                member.lose(error.why)
        except EngineError as error:
            member.lose(error.why)
        else:
            member.find(info.policy_version, recorded=self._recorded, now=self._clock())

    async def _probe_periodically(self) -> None:
        while True:
            self._probe_now.clear()
            await self.probe()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._probe_seconds):
                    await self._probe_now.wait()

    async def _reconcile_on_demand(
        self, reconcile: Callable[[list[EngineControl]], Awaitable[object]]
    ) -> None:
        """What fails is found again by the next probe, and tried again then."""
        while True:
            await self._reconcile_now.wait()
            self._reconcile_now.clear()
            now = self._clock()
            behind = [m.control for m in self._members.values() if m.needs_swap(now)]
            try:
                await reconcile(behind)
            except RolloutError as error:
                log.error("engines not reconciled", extra={"why": str(error)})
