"""One listener on uvicorn: opened when asked, stopped in order, with a look at every connection once a second."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from gateway.edge.connection import KEEP_ALIVE_SECONDS, Connection
from gateway.listeners import BACKLOG

DATE_SECONDS = 1.0  # the resolution of an HTTP date
# For turns that are cut at the deadline: each aborts its engine's call and writes its record, in five seconds at most.
CUT_SECONDS = 11.0


class Server(uvicorn.Server):
    """One listener. The process handles signals and logging, not uvicorn."""

    def __init__(
        self, app: ASGIApp, connection: Callable[..., Connection], *, shutdown_seconds: float
    ) -> None:
        config = uvicorn.Config(
            app,
            http=connection,  # type: ignore[arg-type]  # uvicorn calls it and nothing else
            ws="none",  # its connections would have no limits
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
        """Accept connections while the block runs; leaving the block waits for running requests."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run(listener))
            await self.opened.wait()
            try:
                yield
            finally:
                self.stop()
                await self.closed.wait()  # in order, also when the block fails

    def stop(self) -> None:
        """Accept no more requests; running ones may finish."""
        self.should_exit = True
        self._stopping.set()

    async def _run(self, listener: socket.socket) -> None:
        try:
            await self.serve([listener])
        finally:
            self.closed.set()

    async def main_loop(self) -> None:
        """Wait for `stop`, and wake once a second for slow clients and the date header; uvicorn's own loop polls ten times."""
        while not await self.on_tick(0):
            for connection in tuple(self.server_state.connections):
                assert isinstance(connection, Connection)
                connection.look()
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._stopping.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.opened.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Uvicorn cancels what runs at the deadline and does not wait for it; its records need stores that are open."""
        await super().shutdown(sockets)
        if cut := set(self.server_state.tasks):
            await asyncio.wait(cut, timeout=CUT_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
