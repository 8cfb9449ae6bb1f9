"""Keeps a number of workers serving: starts them, and replaces those that end and those that are to be new.

A worker serves at a number. The one that it replaces there may still answer its last calls.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

from gateway.workers.process import WorkerProcess
from gateway.workers.processes import WorkerFailed, WorkerProcesses

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 10.0
CALM_SECONDS = 20.0  # of serving; the next crash is a first one again

log = logging.getLogger("gateway.workers")


class WorkerSet:
    """Its tasks live in `tasks` until `stop`."""

    def __init__(
        self, processes: WorkerProcesses, tasks: asyncio.TaskGroup, *, num_workers: int
    ) -> None:
        self._numbers = range(num_workers)
        self._tasks = tasks
        self._processes = processes
        self._new: Sequence[WorkerProcess] = ()  # started together
        self._serving: dict[int, WorkerProcess] = {}  # by number
        self._changing = {number: asyncio.Lock() for number in self._numbers}
        self._rolling = asyncio.Lock()

    async def start(self) -> None:
        """Return when all can serve. Raises WorkerFailed."""
        self._new = await asyncio.gather(*(self._processes.start() for _ in self._numbers))

    def serve(self) -> None:
        """Let all take connections, from now on."""
        for number, worker in enumerate(self._new):
            self._serve(number, worker, crashes=0)

    def replace_all_soon(self) -> None:
        if self._serving:  # else all are new
            self._tasks.create_task(self._replace_all())

    async def stop(self) -> None:
        """End all; running turns may finish."""
        await self._processes.stop()

    async def _replace_all(self) -> None:
        """Replace each by a new one, one by one. An old one leaves when the new one serves."""
        async with self._rolling, asyncio.TaskGroup() as leaving:
            for number in self._numbers:
                async with self._changing[number]:
                    old = self._serving[number]
                    try:
                        await self._begin(number, crashes=0)
                    except WorkerFailed as failure:
                        if not self._processes.is_stopping:
                            log.error("the old workers go on", extra={"reason": str(failure)})
                        return
                    leaving.create_task(self._processes.drain(old))
        log.info("all workers replaced")

    async def _keep(self, number: int, worker: WorkerProcess, *, crashes: int) -> None:
        """Replace this worker when it ends by itself, after so many crashes in a row."""
        began = asyncio.get_running_loop().time()
        await worker.ended.wait()
        async with self._changing[number]:
            if self._processes.is_stopping or worker is not self._serving[number]:
                return
            log.error("worker ended", extra={"pid": worker.pid, "code": worker.code})
            is_calm = asyncio.get_running_loop().time() - began > CALM_SECONDS
            await self._restart(number, crashes=0 if is_calm else crashes)

    async def _restart(self, number: int, *, crashes: int) -> None:
        """Start one at once, and after growing waits if it crashes again."""
        while not await self._processes.stop_within(_wait_seconds(crashes)):
            crashes += 1
            try:
                await self._begin(number, crashes=crashes)
            except WorkerFailed as failure:
                if not self._processes.is_stopping:
                    log.error("worker did not start", extra={"reason": str(failure)})
            else:
                return

    async def _begin(self, number: int, *, crashes: int) -> None:
        """Raises WorkerFailed."""
        self._serve(number, await self._processes.start(), crashes=crashes)

    def _serve(self, number: int, worker: WorkerProcess, *, crashes: int) -> None:
        self._serving[number] = worker
        worker.serve()
        self._tasks.create_task(self._keep(number, worker, crashes=crashes))


def _wait_seconds(crashes: int) -> float:
    """Grows from nothing, and differs between workers that crash together."""
    if not crashes:
        return 0.0
    longest: float = min(FIRST_WAIT_SECONDS * 2 ** min(crashes - 1, 16), LONGEST_WAIT_SECONDS)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311
