"""All workers that run, from their start to their end, and what those counted that have ended."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress

from gateway.listeners import Sockets
from gateway.settings import Settings
from gateway.workers.channel import Reading
from gateway.workers.connection_counts import ConnectionCounts
from gateway.workers.exposition import exposition, joined
from gateway.workers.families import Family, added
from gateway.workers.inheritance import Inheritance
from gateway.workers.process import WorkerProcess
from gateway.workers.watch import ANSWER_SECONDS, watch

# To load a large tokenizer on a busy machine, besides the wait for the stores.
READY_SECONDS = 240.0
LEAVING_SECONDS = 15.0  # from the end of running turns to the end of the process

log = logging.getLogger("gateway.workers")


class WorkerFailed(Exception):
    """A worker ended before it could serve; its own lines in the log say why."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


class WorkerProcesses:
    """The tasks that follow the workers are in `tasks`."""

    def __init__(self, settings: Settings, sockets: Sockets, tasks: asyncio.TaskGroup) -> None:
        self._settings = settings
        self._sockets = sockets
        self._tasks = tasks
        self._places = set(range(2 * settings.workers + 1))  # all at once in a rolling restart
        self._api_counts, self._metrics_counts = (
            ConnectionCounts.create(len(self._places)) for _ in "12"
        )
        self._stopping = asyncio.Event()
        self._alive: set[WorkerProcess] = set()
        self._ended: Sequence[Family] = ()
        self._crashes = 0

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop_within(self, seconds: float) -> bool:
        """Wait so long, or until all are to end; returns whether they are."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self.is_stopping

    async def start(self) -> WorkerProcess:
        """A new worker, once it can serve. Raises WorkerFailed."""
        worker = await self._spawn()
        self._alive.add(worker)
        self._tasks.create_task(self._follow(worker))
        if self.is_stopping:
            worker.kill()
        seconds = self._settings.start_seconds + READY_SECONDS
        await worker.wait_ready_or_end(seconds)
        if worker.ended.is_set():
            why = f"a worker ended with code {worker.code} before it could serve"
            raise WorkerFailed(why, worker.code)
        if not worker.is_ready:
            worker.kill()
            raise WorkerFailed(f"a worker could not serve after {seconds:g} s", 1)
        return worker

    async def drain(self, worker: WorkerProcess) -> None:
        """Let it answer the calls that it has, and end."""
        worker.drain()
        await self._see_off(worker)

    async def stop(self) -> None:
        """End all; running turns may finish."""
        self._stopping.set()
        leaving = list(self._alive)
        for worker in leaving:
            if worker.is_ready:
                worker.stop()
            else:
                worker.kill()
        await asyncio.gather(*(self._see_off(worker) for worker in leaving))

    async def _see_off(self, worker: WorkerProcess) -> None:
        """Wait for its end, and kill it when it does not come."""
        try:
            seconds = self._settings.shutdown_seconds + LEAVING_SECONDS
            await asyncio.wait_for(worker.ended.wait(), seconds)
        except TimeoutError:
            log.error("worker does not end, killed", extra={"pid": worker.pid})
            worker.kill()
            await worker.ended.wait()

    async def _spawn(self) -> WorkerProcess:
        """Raises WorkerFailed if the gateway stops, or the system gives no process or descriptor now."""
        if self.is_stopping:
            raise WorkerFailed("no worker starts while the gateway stops", 1)
        place = self._places.pop()
        try:
            own_end, their_end = socket.socketpair()
            with their_end:
                return await WorkerProcess.start(self._inheritance(their_end, place), own_end)
        except OSError as error:
            self._places.add(place)
            raise WorkerFailed(f"a worker's process cannot be made: {error}", 1) from error

    def _inheritance(self, parent: socket.socket, place: int) -> Inheritance:
        return Inheritance(
            api=self._sockets.api.fileno(),
            metrics=self._sockets.metrics.fileno(),
            api_counts=self._api_counts.descriptor,
            metrics_counts=self._metrics_counts.descriptor,
            parent=parent.fileno(),
            place=place,
        )

    async def _follow(self, worker: WorkerProcess) -> None:
        watching = self._tasks.create_task(watch(worker))
        await worker.follow(self._answer_soon)
        watching.cancel()
        self._alive.discard(worker)
        self._crashes += worker.is_serving
        self._ended = added([self._ended, worker.counted])
        for counts in (self._api_counts, self._metrics_counts):
            counts.leave(worker.place)
        self._places.add(worker.place)

    def _answer_soon(self, worker: WorkerProcess, id: int) -> None:
        self._tasks.create_task(self._answer(worker, id))

    async def _answer(self, asking: WorkerProcess, id: int) -> None:
        """Give it the metrics of all; one that does not say its counts in time has those that it said last."""
        asked = [w.read(seconds=ANSWER_SECONDS, with_state=True) for w in self._alive if w.is_ready]
        readings: list[Reading | None] = await asyncio.gather(*asked)
        snapshots = [r.snapshot for r in readings if r is not None and r.snapshot is not None]
        snapshot = joined(
            snapshots,
            num_workers=sum(worker.is_serving for worker in self._alive),
            worker_restarts=self._crashes,
        )
        counted = added([self._ended, *(worker.counted for worker in self._alive)])
        asking.expose(id, exposition(counted, snapshot))
