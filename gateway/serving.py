"""Two listeners in one process, the API and its metrics: opened together, announced when ready, stopped in order."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.allocator import keep_freed_memory
from gateway.api.health import read_snapshot
from gateway.app import create_app, create_model_endpoints
from gateway.background import in_background
from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS, Dialects
from gateway.families.model_family import ModelFamily
from gateway.families.registry import FAMILIES
from gateway.metrics import Metrics
from gateway.middleware import Edge
from gateway.services import Services, open_services
from gateway.settings import Settings
from rollout.engine.factory import ENGINE_KINDS, OpenEngine
from rollout.ready_file import ReadyFile

log = logging.getLogger("gateway")

# Tokenizer and template are millions of objects that never die: collecting around them costs a third of a turn.
GC_THRESHOLDS = (50_000, 20, 50)
BACKLOG = 2048  # connections waiting to be accepted
# Longer than clients and load balancers keep an idle connection (httpx 5 s, most balancers 60 s): the side that may send next
# closes first, or a call would meet a connection that is just being closed.
KEEP_ALIVE_SECONDS = 75
DATE_SECONDS = 1.0  # as fine as an HTTP date can be


class Address(NamedTuple):
    host: str
    port: int
    metrics_port: int


class Running(NamedTuple):
    address: Address
    api: "Server"
    services: Services


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; running turns may finish within the deadline."""
    keep_freed_memory()
    async with gateway(settings) as running:
        with _stopping_on_signals(running.api):
            log.info("ready on %s:%d, metrics on %d", *running.address)
            if settings.ready_file is not None:
                ReadyFile(settings.ready_file).write(**running.address._asdict())
            settle_collector()
            await running.api.closed.wait()


@asynccontextmanager
async def gateway(
    settings: Settings,
    *,
    dialects: Sequence[Callable[[], Dialect]] = DIALECTS,
    families: Sequence[ModelFamily] = FAMILIES,
    engine_kinds: Mapping[str, OpenEngine] = ENGINE_KINDS,
) -> AsyncIterator["Running"]:
    """A gateway that serves while the block runs."""
    listener = bind(settings.host, settings.port)
    scraped = bind(settings.host, settings.metrics_port)
    host, port = listener.getsockname()[:2]
    address = Address(host, port, scraped.getsockname()[1])
    opening = open_services(
        settings,
        Metrics(),
        dialects=Dialects(create() for create in dialects),
        families=families,
        engine_kinds=engine_kinds,
    )
    async with opening as services, in_background(services):
        endpoints = create_model_endpoints(services)
        edge = Edge(
            create_app(services, endpoints),
            model_endpoints=endpoints,
            dialects=services.dialects,
            metrics=services.metrics,
            max_body_bytes=settings.max_body_bytes,
        )
        api = Server(edge, shutdown_seconds=settings.shutdown_seconds)
        metrics = Server(_metrics_app(services), shutdown_seconds=1)
        async with metrics.listening(scraped), api.listening(listener):
            yield Running(address, api, services)


class Server(uvicorn.Server):
    """One listener; signals and logging are the process's business."""

    def __init__(self, app: ASGIApp, *, shutdown_seconds: float) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(shutdown_seconds)),
        )
        super().__init__(config)
        self.opened = asyncio.Event()
        self.closed = asyncio.Event()
        self._stopping = asyncio.Event()

    @asynccontextmanager
    async def listening(self, listener: socket.socket) -> AsyncIterator[None]:
        """Accept connections while the block runs; leaving it waits for requests under way."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run(listener))
            await self.opened.wait()
            try:
                yield
            finally:
                self.stop()
                await self.closed.wait()  # in order, also when the block fails

    def stop(self) -> None:
        """Take no more requests; those under way may finish."""
        self.should_exit = True
        self._stopping.set()

    async def _run(self, listener: socket.socket) -> None:
        try:
            await self.serve([listener])
        finally:
            self.closed.set()

    async def main_loop(self) -> None:
        """Uvicorn looks ten times a second whether it should stop; this one is told, and wakes to set the date header."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._stopping.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.opened.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """Take a port, or say which one is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        why = f"cannot listen on {host}:{port} ({error.strerror}); stop who does or choose another"
        raise OSError(why) from error
    return listener


@contextmanager
def _stopping_on_signals(server: Server) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        log.info("stopping: running turns may finish")
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def settle_collector() -> None:
    """What lives now lives as long as the process: leave it out of every collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _metrics_app(services: Services) -> Starlette:
    async def exposition(request: Request) -> Response:
        services.metrics.snapshot = await read_snapshot(services)
        text = services.metrics.exposition()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(routes=[Route("/metrics", exposition)])
