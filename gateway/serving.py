"""Two listeners in one process, the API and its metrics: opened together, announced when ready, stopped in order.

A worker is such a process too, with listeners that its parent gives it (`gateway.workers`).
"""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.access.rate_limits import RATE_LIMIT_HEADERS
from gateway.allocator import keep_freed_memory
from gateway.api.health import read_snapshot
from gateway.app import ADMIN_ROUTERS, AGENT_ROUTERS, create_app, create_model_endpoints
from gateway.background import in_background
from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS, Dialects
from gateway.edge.body_limit import BodyLimit
from gateway.edge.connection import Connection, ConnectionLimits
from gateway.edge.edge import Edge
from gateway.edge.model_connection import ModelConnection
from gateway.edge.server import Server
from gateway.endpoint.exchange import Endpoint
from gateway.families.model_family import ModelFamily
from gateway.families.model_files import ModelFiles, ReadModel
from gateway.families.registry import FAMILIES
from gateway.listeners import Address, Sockets
from gateway.metrics import Metrics
from gateway.services import Services, open_services
from gateway.settings import Settings
from rollout.engine.factory import ENGINE_KINDS, OpenEngine
from rollout.ready_file import ReadyFile

log = logging.getLogger("gateway")

# The tokenizer and the template are millions of objects that live as long as the process: scanning them in every garbage
# collection costs a third of a turn.
GC_THRESHOLDS = (50_000, 20, 50)


EXPOSED_HEADERS = (
    "x-request-id",
    "x-turngate-episode",
    "x-turngate-turn",
    "x-turngate-policy-version",
    "retry-after",
    *RATE_LIMIT_HEADERS,
)


Exposition = Callable[[Services], Awaitable[bytes]]
OpenServer = Callable[..., Server]


class Running(NamedTuple):
    address: Address
    api: Server
    services: Services


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; running turns may finish within the deadline."""
    keep_freed_memory()
    async with gateway(settings) as running:
        with stopping_on_signals(running.api):
            log.info("ready on %s:%d, metrics on %d", *running.address)
            if settings.ready_file is not None:
                ReadyFile(settings.ready_file).write(**running.address._asdict())
            freeze_collector()
            await running.api.closed.wait()


@asynccontextmanager
async def gateway(
    settings: Settings,
    *,
    dialects: Sequence[Callable[[], Dialect]] = DIALECTS,
    families: Sequence[ModelFamily] = FAMILIES,
    engine_kinds: Mapping[str, OpenEngine] = ENGINE_KINDS,
    read_model: ReadModel = ModelFiles.read,
) -> AsyncIterator[Running]:
    """A gateway that serves while the block runs."""
    with closing(Sockets.bind(settings)) as sockets:
        async with (
            prepared(
                settings,
                dialects=dialects,
                families=families,
                engine_kinds=engine_kinds,
                read_model=read_model,
            ) as services,
            listening(services, sockets) as api,
        ):
            yield Running(sockets.address, api, services)


@asynccontextmanager
async def prepared(
    settings: Settings,
    *,
    dialects: Sequence[Callable[[], Dialect]] = DIALECTS,
    families: Sequence[ModelFamily] = FAMILIES,
    engine_kinds: Mapping[str, OpenEngine] = ENGINE_KINDS,
    read_model: ReadModel = ModelFiles.read,
) -> AsyncIterator[Services]:
    """All that a gateway needs to serve, open while the block runs; it does not listen yet."""
    opening = open_services(
        settings,
        Metrics(),
        dialects=Dialects(create() for create in dialects),
        families=families,
        engine_kinds=engine_kinds,
        read_model=read_model,
    )
    async with opening as services, in_background(services):
        yield services


async def own_exposition(services: Services) -> bytes:
    """The metrics of a gateway that is one process."""
    services.metrics.snapshot = await read_snapshot(services)
    return services.metrics.exposition()


@asynccontextmanager
async def listening(
    services: Services,
    sockets: Sockets,
    *,
    open_server: OpenServer = Server,
    exposition: Exposition = own_exposition,
) -> AsyncIterator[Server]:
    """Take calls while the block runs; yields the server of the API."""
    settings = services.settings
    endpoints = create_model_endpoints(services)
    is_apart = settings.admin_listener == "metrics"
    routers = AGENT_ROUTERS if is_apart else (*AGENT_ROUTERS, *ADMIN_ROUTERS)
    app = create_app(services, endpoints, routers=routers)
    limits = ConnectionLimits(settings.max_connections, settings.slow_client_seconds)
    refusal = services.dialects.error_response
    edge = _edge(app, services, endpoints)
    api = open_server(
        _open_to_browsers(edge, settings.allowed_origins),
        partial(ModelConnection, limits=limits, error_response=refusal, edge=edge),
        shutdown_seconds=settings.shutdown_seconds,
    )
    connection = partial(Connection, limits=limits, error_response=refusal)
    routes = _metrics_routes(services, exposition)
    beside = _admin_app(services, routes) if is_apart else Starlette(routes=routes)
    metrics = open_server(beside, connection, shutdown_seconds=1)
    async with metrics.listening(sockets.metrics), api.listening(sockets.api):
        yield api


@contextmanager
def stopping_on_signals(server: Server) -> Iterator[None]:
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


def freeze_collector() -> None:
    """Leave all objects made so far, which live as long as the process, out of every collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _edge(app: ASGIApp, services: Services, endpoints: Mapping[str, Endpoint]) -> Edge:
    return Edge(
        app,
        endpoints=endpoints,
        dialects=services.dialects,
        metrics=services.metrics,
        body_limit=_body_limit(services),
    )


def _open_to_browsers(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of these origins call the gateway: answer their preflights and name them in replies."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("*",),
        expose_headers=EXPOSED_HEADERS,
    )


def _admin_app(services: Services, routes: Sequence[Route]) -> Edge:
    """The calls of admins, beside the metrics."""
    app = create_app(services, {}, routers=ADMIN_ROUTERS)
    app.router.routes.extend(routes)
    return _edge(app, services, {})


def _body_limit(services: Services) -> BodyLimit:
    return BodyLimit.for_model(
        services.settings.max_body_bytes,
        context_length=services.tokenizer.context_length,
        sees_images=services.vision is not None,
    )


def _metrics_routes(services: Services, exposition: Exposition) -> list[Route]:
    async def metrics(request: Request) -> Response:
        text = await exposition(services)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(request: Request) -> Response:
        return Response("ok")  # here too, because a shared port may reach another gateway

    return [Route("/metrics", metrics), Route("/healthz", healthz)]
