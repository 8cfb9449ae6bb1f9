"""Keeps the processes of one machine running: starts them in order, restarts what crashes, stops them in reverse order.

It knows no service by name. A process that ends before it was ready for the first time fails the whole start: that is a
mistake to report, not a crash to retry.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import DeployError
from deploy.stack.process import Child, ProcessSpec, ProcessState, ProcessStatus
from deploy.stack.waiting import first_error

log = logging.getLogger("deploy.supervisor")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before the n-th restart in a row: first, 2 first, 4 first, … at most `longest`."""

    first: float = 0.5
    longest: float = 30.0
    calm: float = 60.0  # seconds without a crash after which the count starts again

    def seconds(self, crashes: int) -> float:
        return float(min(self.first * 2 ** min(crashes - 1, 32), self.longest))


class Supervisor:
    """`record` is called with the states of all processes after each change."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        logs: Path,
        record: Callable[[list[ProcessStatus]], None],
        backoff: Backoff = Backoff(),
    ) -> None:
        self._children = [Child(spec, logs / f"{spec.name}.log") for spec in specs]
        self._ready = {spec.name: asyncio.Event() for spec in specs}
        self._record = record
        self._backoff = backoff
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
        await self._start(child)
        crashes = 0
        while True:
            began = asyncio.get_running_loop().time()
            await self._crash(child)
            ran = asyncio.get_running_loop().time() - began
            crashes = 1 if ran >= self._backoff.calm else crashes + 1
            await self._restart(child, crashes)

    async def _crash(self, child: Child) -> None:
        """Block until the process ends by itself, then stop the rest of its process group."""
        code = await child.wait_exit()
        self._ready[child.spec.name].clear()
        await child.stop()
        log.warning("process crashed", extra={"child": child.spec.name, "exit_code": code})

    async def _restart(self, child: Child, crashes: int) -> None:
        """Start it, again and again until it is ready."""
        while True:
            child.restarts += 1
            self._move(child, ProcessState.RESTARTING)
            await asyncio.sleep(self._backoff.seconds(crashes))
            try:
                await self._start(child)
            except DeployError as failure:
                log.warning("process did not restart", extra={"reason": str(failure)})
                await child.stop()
                crashes += 1
            else:
                return

    async def _start(self, child: Child) -> None:
        for name in child.spec.after:
            await self._ready[name].wait()
        self._move(child, ProcessState.STARTING)
        await child.start()
        self._move(child, ProcessState.STARTING)  # again: now it has a pid
        await child.wait_ready()
        self._move(child, ProcessState.READY)
        self._ready[child.spec.name].set()
        log.info("process ready", extra={"child": child.spec.name})

    async def _stop_all(self) -> None:
        """Stage by stage, the highest first; the processes of one stage together."""
        for stage in sorted({child.spec.stage for child in self._children}, reverse=True):
            peers = [child for child in self._children if child.spec.stage == stage]
            await asyncio.gather(*(self._stop(child) for child in peers))

    async def _stop(self, child: Child) -> None:
        await child.stop()
        self._move(child, ProcessState.STOPPED)
        log.info("process stopped", extra={"child": child.spec.name})

    def _move(self, child: Child, state: ProcessState) -> None:
        child.state = state
        with suppress(OSError):  # a full disk must not take the processes down
            self._record(self.statuses)
