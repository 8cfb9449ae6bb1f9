"""Workers that end, and who takes their numbers: the processes are scripted here, and start when the test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.workers.processes import WorkerFailed
from gateway.workers.worker_set import WorkerSet
from tests.gateway.conftest import eventually


class Started:
    """A worker that ends when the test says so."""

    code = -9

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended = asyncio.Event()
        self.is_serving = False

    def serve(self) -> None:
        self.is_serving = True


class ScriptedProcesses:
    """Workers without processes."""

    def __init__(self) -> None:
        self.started: list[Started] = []
        self.waits: list[float] = []
        self.can_start = True
        self._stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def stop_within(self, seconds: float) -> bool:
        """A wait ends here with the stop alone."""
        self.waits.append(seconds)
        if seconds:
            await self._stopping.wait()
        return self.is_stopping

    async def start(self) -> Started:
        if not self.can_start:
            raise WorkerFailed("scripted", 1)
        self.started.append(Started(len(self.started)))
        return self.started[-1]

    async def drain(self, worker: Started) -> None:
        await worker.ended.wait()

    async def stop(self) -> None:
        self._stopping.set()
        for worker in self.started:
            worker.ended.set()

    async def is_serving(self, num: int) -> bool:
        """Whether so many have been started, and the last one serves."""
        await asyncio.sleep(0)
        return len(self.started) == num and self.started[-1].is_serving


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[WorkerSet, ScriptedProcesses]]:
    """One worker; the block's end stops it."""
    processes = ScriptedProcesses()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        workers = WorkerSet(processes, tasks, num_workers=1)  # type: ignore[arg-type]
        await workers.start()
        workers.serve()
        yield workers, processes
        await workers.stop()


async def test_a_new_worker_that_dies_is_replaced_while_the_old_one_drains() -> None:
    """In a rolling restart, nobody waits for the last calls of the old one."""
    async with serving() as (workers, processes):
        workers.replace_all_soon()
        await eventually(lambda: processes.is_serving(2))
        old, new = processes.started
        new.ended.set()
        await eventually(lambda: processes.is_serving(3))
        assert not old.ended.is_set()


async def test_a_worker_that_was_replaced_is_not_started_again() -> None:
    """It ends when it has answered its last calls, and the new one goes on."""
    async with serving() as (workers, processes):
        workers.replace_all_soon()
        await eventually(lambda: processes.is_serving(2))
        processes.started[0].ended.set()
        await asyncio.sleep(0.05)
        assert await processes.is_serving(2)


async def test_waits_grow_from_nothing_with_crashes_in_a_row_and_end_with_the_gateway() -> None:
    """The first crash costs no time, and a gateway that stops waits for no start."""
    async with serving() as (_, processes):
        processes.can_start = False
        processes.started[0].ended.set()

        async def has_waited() -> bool:
            await asyncio.sleep(0)
            return len(processes.waits) == 2

        await eventually(has_waited)
        assert processes.waits[0] == 0 < processes.waits[1]
