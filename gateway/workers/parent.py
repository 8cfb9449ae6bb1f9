"""The parent of workers: it holds the two listeners, and takes no connection itself.

SIGTERM and SIGINT end all workers in order, SIGHUP replaces them one by one.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager

from gateway.listeners import BACKLOG, Sockets
from gateway.settings import Settings
from gateway.workers.processes import WorkerFailed, WorkerProcesses
from gateway.workers.worker_set import WorkerSet
from rollout.ready_file import ReadyFile

log = logging.getLogger("gateway")


async def serve_by_workers(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    sockets = Sockets.bind(settings)
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        workers = WorkerSet(
            WorkerProcesses(settings, sockets, tasks), tasks, num_workers=settings.workers
        )
        on_signal = {
            signal.SIGTERM: stopping.set,
            signal.SIGINT: stopping.set,
            signal.SIGHUP: workers.replace_all_soon,
        }
        with _handling(on_signal):
            try:
                if await _unless(stopping, workers.start()):
                    _announce(settings, sockets)
                    workers.serve()
                    await stopping.wait()
                    log.info("stopping: running turns may finish")
            except WorkerFailed as failure:
                log.error("cannot serve: %s", failure)
                return max(failure.code, 1)
            finally:
                sockets.close()
                await workers.stop()
    return 0


def _announce(settings: Settings, sockets: Sockets) -> None:
    """Listen, and say where."""
    for listener in sockets:
        listener.listen(BACKLOG)
    log.info("ready on %s:%d, metrics on %d", *sockets.address)
    if settings.ready_file is not None:
        ReadyFile(settings.ready_file).write(**sockets.address._asdict())


async def _unless(event: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do this work unless the event comes first; returns whether it was done."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()
    finally:
        working.cancel()
        waiting.cancel()


@contextmanager
def _handling(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
