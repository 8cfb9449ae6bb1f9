"""The server of one worker: it takes its share of a listener's connections, and can leave without breaking a call."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.types import ASGIApp

from gateway.edge.connection import CLOSE, Connection
from gateway.edge.server import Server
from gateway.workers.acceptor import Acceptor
from gateway.workers.connection_counts import ConnectionCounts

LOOK_SECONDS = 1.0
# A client that has not called for so long opens a new connection more often than it uses this one.
IDLE_LOOKS = 10


OpenConnection = Callable[..., Connection]


class SharedServer(Server):
    def __init__(
        self,
        app: ASGIApp,
        connection: OpenConnection,
        *,
        shutdown_seconds: float,
        counts: Mapping[socket.socket, ConnectionCounts],
        place: int,
    ) -> None:
        super().__init__(app, connection, shutdown_seconds=shutdown_seconds)
        self._connection = connection
        self._counts = counts
        self._place = place
        self._acceptor: Acceptor | None = None
        self._is_empty = asyncio.Event()
        self.server_state.connections = _Counted(self._count)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        await super().startup([])
        protocol = partial(
            self._connection,
            config=self.config,
            server_state=self.server_state,
            app_state={},
        )
        (listener,) = sockets
        counts = self._counts[listener]
        self._acceptor = Acceptor(listener, protocol, counts=counts, place=self._place)
        self.servers.append(self._acceptor)  # type: ignore[arg-type]  # closed and awaited as one of asyncio's
        self._acceptor.open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._leave()
        await super().shutdown(sockets)

    async def drain(self, seconds: float, *, look_seconds: float = LOOK_SECONDS) -> None:
        """Take no more connections, and say on each that the next answer is its last; return when all are closed.

        A connection on which no call comes is closed after a while, as by any server: a call that its client sends at that
        very moment is lost.
        """
        await self._leave()
        self.config.encoded_headers = [*self.config.encoded_headers, CLOSE]
        await self.on_tick(0)  # which makes the headers of all answers
        looks: Counter[Connection] = Counter()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.server_state.connections:
                    looks = self._close_idle(looks)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._is_empty.wait(), look_seconds)
        self.config.timeout_graceful_shutdown = 1  # the time of running turns is used up

    def _close_idle(self, before: "Counter[Connection]") -> "Counter[Connection]":
        """Looks in a row at which a connection was idle; the ones that stay so are closed."""
        looks: Counter[Connection] = Counter()
        for connection in tuple(self.server_state.connections):
            assert isinstance(connection, Connection)
            if connection.is_idle:
                looks[connection] = before[connection] + 1
            if looks[connection] > IDLE_LOOKS:
                connection.shutdown()
        return looks

    async def _leave(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
            await self._acceptor.wait_closed()
        self._count(len(self.server_state.connections))

    def _count(self, connections: int) -> None:
        if self._acceptor is not None:
            self._acceptor.count(connections)
        if connections:
            self._is_empty.clear()
        else:
            self._is_empty.set()


class _Counted(set[Any]):
    """Calls `on_change` with their number after each change."""

    def __init__(self, on_change: Callable[[int], None]) -> None:
        super().__init__()
        self._on_change = on_change

    def add(self, connection: Any) -> None:
        super().add(connection)
        self._on_change(len(self))

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        self._on_change(len(self))
