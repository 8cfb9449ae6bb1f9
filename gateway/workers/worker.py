"""One worker: a whole gateway on its parent's listeners, which begins, leaves and ends when the parent says so."""

import asyncio
import itertools
import logging
import socket
from collections.abc import Mapping
from functools import partial

from starlette.types import ASGIApp

from gateway.allocator import keep_freed_memory
from gateway.api.health import read_snapshot
from gateway.edge.server import Server
from gateway.listeners import Sockets
from gateway.metrics import Snapshot
from gateway.services import Services
from gateway.serving import freeze_collector, listening, prepared, stopping_on_signals
from gateway.settings import Settings
from gateway.workers.channel import (
    LAST,
    Ask,
    Channel,
    Drain,
    Expose,
    Exposed,
    Message,
    Reading,
    Ready,
    Serve,
    Stop,
)
from gateway.workers.connection_counts import ConnectionCounts
from gateway.workers.families import Family
from gateway.workers.server import OpenConnection, SharedServer

EXPOSED_SECONDS = 5.0  # for the metrics of all workers, which the parent has in two

log = logging.getLogger("gateway")


class NotNeeded(Exception):
    """The parent has ended, or stops this worker, before it serves."""


async def work(
    settings: Settings,
    sockets: Sockets,
    *,
    parent: socket.socket,
    counts: Mapping[socket.socket, ConnectionCounts],
    place: int,
) -> None:
    """Serve until the parent says that it is enough, or ends."""
    keep_freed_memory()
    channel = await Channel.open(parent)
    try:
        async with asyncio.TaskGroup() as tasks:
            worker = Worker(settings, channel, tasks)
            following = tasks.create_task(worker.follow())
            async with prepared(settings) as services:
                await worker.may_serve(services)
                serving = listening(
                    services,
                    sockets,
                    open_server=partial(worker.open_server, counts=counts, place=place),
                    exposition=worker.exposition,
                )
                async with serving as api:
                    with stopping_on_signals(api):
                        freeze_collector()
                        await api.closed.wait()
                following.cancel()
                await worker.say_last()
    except* NotNeeded:
        log.info("ended before it served")
        await channel.close()


class Worker:
    """What this process hears from its parent, and says to it."""

    def __init__(self, settings: Settings, channel: Channel, tasks: asyncio.TaskGroup) -> None:
        self._servers: list[SharedServer] = []
        self._settings = settings
        self._channel = channel
        self._tasks = tasks
        self._services: Services | None = None
        self._begins = asyncio.Event()
        self._ids = itertools.count()
        self._expected: dict[int, asyncio.Future[str]] = {}

    async def follow(self) -> None:
        """Do what the parent says until it ends."""
        async for message in self._channel.messages():
            self._hear(message)
        log.warning("the parent has ended")
        self._stop()

    async def may_serve(self, services: Services) -> None:
        """Say that this worker can serve, and wait until it may."""
        self._services = services
        self._channel.send(Ready())
        await self._begins.wait()

    def open_server(
        self,
        app: ASGIApp,
        connection: OpenConnection,
        *,
        shutdown_seconds: float,
        counts: Mapping[socket.socket, ConnectionCounts],
        place: int,
    ) -> Server:
        """One that ends when this worker does."""
        server = SharedServer(
            app, connection, shutdown_seconds=shutdown_seconds, counts=counts, place=place
        )
        self._servers.append(server)
        return server

    async def exposition(self, services: Services) -> bytes:
        """The metrics of all workers."""
        id = next(self._ids)
        self._expected[id] = asyncio.get_running_loop().create_future()
        self._channel.send(Expose(id))
        try:
            return (await asyncio.wait_for(self._expected[id], EXPOSED_SECONDS)).encode()
        finally:
            del self._expected[id]

    async def say_last(self) -> None:
        """What was counted in all, so that the parent's sums are exact."""
        self._channel.send(Reading(LAST, self._counted()))
        await self._channel.close()

    def _hear(self, message: Message) -> None:
        match message:
            case Serve():
                self._begins.set()
            case Drain():
                self._tasks.create_task(self._drain())
            case Stop():
                self._stop()
            case Ask():
                self._tasks.create_task(self._answer(message))
            case Exposed(id=id, text=text):
                expected = self._expected.get(id)
                if expected is not None and not expected.done():  # else it came too late
                    expected.set_result(text)
            case _:
                raise AssertionError(message)

    async def _answer(self, asked: Ask) -> None:
        snapshot = await self._state() if asked.with_state else None
        self._channel.send(Reading(asked.id, self._counted(), snapshot))

    async def _state(self) -> Snapshot | None:
        """None if it cannot be read."""
        if self._services is None:
            return None
        try:
            return await read_snapshot(self._services)
        except Exception:  # not the end of a process that answers calls
            log.exception("state not read")
            return None

    def _counted(self) -> list[Family]:
        if self._services is None:
            return []
        return [Family.of(metric) for metric in self._services.metrics.counted()]

    async def _drain(self) -> None:
        seconds = self._settings.shutdown_seconds
        await asyncio.gather(*(server.drain(seconds) for server in self._servers))
        self._stop()

    def _stop(self) -> None:
        if not self._servers:
            raise NotNeeded
        # That of the metrics at once, unlike in a single process: a parent that is started again can bind its port.
        for server in self._servers:
            server.stop()
