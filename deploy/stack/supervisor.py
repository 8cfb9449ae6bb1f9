"""Keeps the processes of one machine running: starts them in order, restarts what crashes or hangs, stops them in reverse order.

It knows no service by name. A process that ends before it was ready for the first time fails the whole start: that is a
mistake to report, not a crash to retry. Unless a process that it starts after has crashed meanwhile: then it is retried.
"""

import asyncio
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployError
from deploy.stack.health import PROBE_SECONDS, watch
from deploy.stack.process import Child, ProcessSpec, ProcessState, ProcessStatus
from deploy.stack.waiting import first_error

log = logging.getLogger("deploy.supervisor")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before the n-th restart in a row: first, 2 first, 4 first, … about `longest` at most.

    Each wait is up to `jitter` longer or shorter, so that processes that crash together do not start together again.
    """

    first: float = 0.5
    longest: float = 8.0
    jitter: float = 0.25
    calm: float = 10.0  # seconds without a crash after which the count starts again

    def seconds(self, crashes: int) -> float:
        return float(min(self.first * 2 ** min(crashes - 1, 32), self.longest))

    def jittered(self, crashes: int) -> float:
        return self.seconds(crashes) * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311


class Supervisor:
    """`record` is called with the states of all processes after each change."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        logs: Path,
        record: Callable[[list[ProcessStatus]], None],
        backoff: Backoff = Backoff(),
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._children = [Child(spec, logs / f"{spec.name}.log") for spec in specs]
        self._ready = {spec.name: asyncio.Event() for spec in specs}
        self._record = record
        self._backoff = backoff
        self._probe_seconds = probe_seconds
        self._stopping = asyncio.Event()

    @property
    def statuses(self) -> list[ProcessStatus]:
        return [child.status for child in self._children]

    def stop(self) -> None:
        """Make `run` return after an orderly shutdown; may be called from a signal handler."""
        self._stopping.set()

    async def run(self, announce: Callable[[], Awaitable[None]]) -> None:
        """Supervise until `stop`; `announce` is called once, when all are ready."""
        try:
            await self._supervise(announce)
        except BaseExceptionGroup as group:
            raise first_error(group) from None
        finally:
            await self._stop_all()

    async def _supervise(self, announce: Callable[[], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._keep(child)) for child in self._children]
            running.append(tasks.create_task(self._announce(announce)))
            await self._stopping.wait()
            for task in running:
                task.cancel()

    async def _announce(self, announce: Callable[[], Awaitable[None]]) -> None:
        for event in self._ready.values():
            await event.wait()
        await announce()

    async def _keep(self, child: Child) -> None:
        await self._start_first(child)
        crashes = 0
        while True:
            began = asyncio.get_running_loop().time()
            await self._crash(child)
            ran = asyncio.get_running_loop().time() - began
            crashes = 1 if ran >= self._backoff.calm else crashes + 1
            await self._restart(child, crashes)

    async def _start_first(self, child: Child) -> None:
        """Start it; a failure is raised unless a process that it starts after has crashed meanwhile."""
        while True:
            await self._wait_for(child.spec.after)
            before = self._restarts(child.spec.after)
            try:
                return await self._start(child)
            except DeployError as failure:
                if self._restarts(child.spec.after) == before:
                    raise
                log.warning("process did not start", extra={"reason": str(failure)})
                await child.stop()

    def _restarts(self, names: Collection[str]) -> int:
        """Crashes of these processes, among them one that was not restarted yet."""
        return sum(
            child.restarts + (not self._ready[child.spec.name].is_set())
            for child in self._children
            if child.spec.name in names
        )

    async def _crash(self, child: Child) -> None:
        """Block until the process ends or hangs, then stop the rest of its process group."""
        name = child.spec.name
        ending = asyncio.create_task(child.wait_exit())
        watching = asyncio.create_task(
            watch(child, continued=self._write_down, probe_seconds=self._probe_seconds)
        )
        try:
            await asyncio.wait({ending, watching}, return_when=asyncio.FIRST_COMPLETED)
            self._ready[name].clear()
            hangs = watching.done() and not ending.done()
            child.why = watching.result() if hangs else f"ended with code {ending.result()}"
            if hangs:
                child.signal_group(signal.SIGKILL)
        finally:
            for task in (ending, watching):
                task.cancel()
            await asyncio.gather(ending, watching, return_exceptions=True)
        await child.stop()
        log.warning("process crashed", extra={"child": name, "why": child.why})

    async def _restart(self, child: Child, crashes: int) -> None:
        """Start it, again and again until it is ready."""
        while True:
            child.restarts += 1
            child.backoff_seconds = self._backoff.jittered(crashes)
            self._move(child, ProcessState.RESTARTING)
            await asyncio.sleep(child.backoff_seconds)
            try:
                await self._start(child)
            except DeployError as failure:
                log.warning("process did not restart", extra={"reason": str(failure)})
                child.why = str(failure).partition("\n")[0]
                await child.stop()
                crashes += 1
            else:
                return await child.prepare_spare()  # what crashed once may crash again

    async def _start(self, child: Child) -> None:
        await self._wait_for(child.spec.needs)
        self._move(child, ProcessState.STARTING)
        await child.start()
        self._move(child, ProcessState.STARTING)  # again: now it has a pid
        await child.wait_ready()
        self._move(child, ProcessState.READY)
        self._ready[child.spec.name].set()
        log.info("process ready", extra={"child": child.spec.name})

    async def _wait_for(self, names: Collection[str]) -> None:
        for name in names:
            await self._ready[name].wait()

    async def _stop_all(self) -> None:
        """Stage by stage, the highest first; the processes of one stage together."""
        for stage in sorted({child.spec.stage for child in self._children}, reverse=True):
            peers = [child for child in self._children if child.spec.stage == stage]
            await asyncio.gather(*(self._stop(child) for child in peers))

    async def _stop(self, child: Child) -> None:
        await child.stop_spare()
        await child.stop()
        self._move(child, ProcessState.STOPPED)
        log.info("process stopped", extra={"child": child.spec.name})

    def _move(self, child: Child, state: ProcessState) -> None:
        child.state = state
        self._write_down()

    def _write_down(self) -> None:
        with suppress(OSError):  # a full disk must not take the processes down
            self._record(self.statuses)
