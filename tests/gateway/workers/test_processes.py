"""Workers that cannot be started: who asked for one learns it, and the parent goes on."""

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.listeners import Sockets
from gateway.settings import Settings
from gateway.workers.processes import WorkerFailed, WorkerProcesses
from tests.gateways import ADMIN_KEY


@contextmanager
def sockets(directory: Path) -> Iterator[tuple[Settings, Sockets]]:
    settings = Settings(
        redis_url="redis://127.0.0.1:9",
        model_dir=directory,
        weights_dir=directory,
        engines="http://127.0.0.1:9",
        engine_admin_key="engine-admin-key",
        admin_key=ADMIN_KEY,
        port=0,
        metrics_port=0,
        workers=2,
    )
    taken = Sockets.bind(settings)
    try:
        yield settings, taken
    finally:
        taken.close()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """As in a process that has opened as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_system_that_gives_no_process_fails_the_start_alone(tmp_path: Path) -> None:
    """However often it is tried, the tasks of the other workers go on."""
    with sockets(tmp_path) as (settings, taken):
        async with asyncio.TaskGroup() as tasks:
            processes = WorkerProcesses(settings, taken, tasks)
            for _ in range(2 * settings.workers + 2):
                with no_descriptors(), pytest.raises(WorkerFailed, match="Too many open files"):
                    await processes.start()


async def test_a_gateway_that_stops_starts_no_worker(tmp_path: Path) -> None:
    """Its sockets are closed, and a worker that was to be replaced just then is not."""
    with sockets(tmp_path) as (settings, taken):
        async with asyncio.TaskGroup() as tasks:
            processes = WorkerProcesses(settings, taken, tasks)
            taken.close()
            await processes.stop()
            with pytest.raises(WorkerFailed, match="stops"):
                await processes.start()


async def test_a_wait_ends_when_the_gateway_stops(tmp_path: Path) -> None:
    """It says so, and sooner than its time is over."""
    with sockets(tmp_path) as (settings, taken):
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            processes = WorkerProcesses(settings, taken, tasks)
            assert not await processes.stop_within(0)
            waiting = tasks.create_task(processes.stop_within(60))
            await asyncio.sleep(0)
            await processes.stop()
            assert await waiting
