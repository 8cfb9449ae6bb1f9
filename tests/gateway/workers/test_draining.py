"""A server that leaves: what it says on connections that it has, and when it closes them."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from gateway.edge.connection import Connection, ConnectionLimits
from gateway.errors import ApiError
from gateway.workers.connection_counts import ConnectionCounts
from gateway.workers.server import SharedServer

CALL = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
LOOK_SECONDS = 0.02
SECONDS = 30.0


def refusal(path: str, error: ApiError, request_id: str) -> PlainTextResponse:
    return PlainTextResponse("refused", error.status)


class Served:
    """A server of one place, whose answers end when they may."""

    def __init__(self, listener: socket.socket, counts: ConnectionCounts) -> None:
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.port = listener.getsockname()[1]
        limits = ConnectionLimits(max_connections=10, slow_seconds=30)
        connection = partial(Connection, limits=limits, error_response=refusal)
        self.server = SharedServer(
            self, connection, shutdown_seconds=SECONDS, counts={listener: counts}, place=0
        )

    async def drain(self) -> None:
        await self.server.drain(SECONDS, look_seconds=LOOK_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """In two parts; the second one when it may."""
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await self.may_end.wait()
        await send({"type": "http.response.body", "body": b"k"})


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    counts = ConnectionCounts.create(1)
    with ExitStack() as stack:
        stack.callback(os.close, counts.descriptor)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        served = Served(listener, counts)
        async with served.server.listening(listener):
            yield served


class Client:
    """One connection that stays open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def begin(self) -> bytes:
        """Send a call; returns the head of its answer."""
        self._writer.write(CALL)
        return await self._reader.readuntil(b"\r\n\r\n")

    async def call(self) -> bytes:
        head = await self.begin()
        assert await self._reader.readexactly(2) == b"ok"
        return head

    async def body(self) -> bytes:
        return await self._reader.readexactly(2)

    async def is_closed(self) -> bool:
        """Whether the server closes it, within a while."""
        return await asyncio.wait_for(self._reader.read(), SECONDS) == b""


@asynccontextmanager
async def connected(served: Served) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def test_the_next_answer_on_a_connection_is_its_last(served: Served) -> None:
    """It says so, so that the client does not send another call there, and then the server has left."""
    async with connected(served) as client:
        assert b"connection: close" not in await client.call()
        draining = asyncio.create_task(served.drain())
        await asyncio.sleep(LOOK_SECONDS)
        assert b"connection: close" in await client.call()
        assert await client.is_closed()
        await draining


async def test_a_connection_stays_after_an_answer_that_could_not_say_so(served: Served) -> None:
    """An answer that had begun before ends, and the client may call once more."""
    served.may_end.clear()
    async with connected(served) as client:
        assert b"connection: close" not in await client.begin()
        draining = asyncio.create_task(served.drain())
        await asyncio.sleep(LOOK_SECONDS)
        served.may_end.set()
        assert await client.body() == b"ok"
        assert b"connection: close" in await client.call()
        assert await client.is_closed()
        await draining


async def test_a_connection_that_nobody_uses_is_closed_after_a_while(served: Served) -> None:
    """Its client is not waited for as long as a turn may take."""
    async with connected(served) as idle, connected(served) as used:
        await idle.call()
        served.may_end.clear()
        await used.begin()
        draining = asyncio.create_task(served.drain())
        assert await idle.is_closed()
        assert not draining.done()
        served.may_end.set()
        assert await used.body() == b"ok"
        assert await used.is_closed()
        await draining
