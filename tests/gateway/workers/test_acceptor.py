"""A listener that several processes share: who takes the next connection."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

import pytest

from gateway.workers.acceptor import Acceptor
from gateway.workers.connection_counts import ConnectionCounts

PLACES = 3


class Held(asyncio.Protocol):
    """A connection that its process counts."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._process.transports.add(transport)
        self._process.count()


class Process:
    """Stands for one: acceptors in one event loop share a listener as those of processes do."""

    def __init__(self, listener: socket.socket, counts: ConnectionCounts, place: int) -> None:
        self.transports: set[asyncio.BaseTransport] = set()
        self.acceptor = Acceptor(listener, lambda: Held(self), counts=counts, place=place)

    def count(self) -> None:
        self.acceptor.count(len(self.transports))

    async def close(self) -> None:
        self.acceptor.close()
        await self.acceptor.wait_closed()
        for transport in self.transports:
            transport.close()


class Street:
    """The listener, the processes at it and the clients before it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        self.counts = ConnectionCounts.create(PLACES)
        stack.callback(os.close, self.counts.descriptor)
        self.processes = [
            Process(stack.enter_context(self._listener.dup()), self.counts, place)
            for place in range(PLACES)
        ]

    @property
    def held(self) -> list[int]:
        return [len(process.transports) for process in self.processes]

    def open(self, *places: int) -> None:
        for place in places:
            self.processes[place].acceptor.open()

    def connect(self, count: int) -> None:
        for _ in range(count):
            self._stack.enter_context(socket.create_connection(self._listener.getsockname()))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.001)


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    with ExitStack() as stack:
        street = Street(stack)
        yield street
        for process in street.processes:
            await process.close()
        await asyncio.sleep(0)  # in which closed transports let go of their sockets


async def test_a_burst_of_connections_is_shared_evenly(street: Street) -> None:
    """Nine that wait in the listener are three for each of three processes."""
    street.connect(9)
    street.open(0, 1, 2)
    await street.until(lambda: sum(street.held) == 9)
    assert street.held == [3, 3, 3]


async def test_a_new_process_gets_the_next_connections(street: Street) -> None:
    """Until it holds as many as the one that was there before."""
    street.open(0)
    street.connect(4)
    await street.until(lambda: sum(street.held) == 4)
    street.open(1)
    street.connect(4)
    await street.until(lambda: sum(street.held) == 8)
    assert street.held == [4, 4, 0]


async def test_no_connection_waits_for_a_process_that_takes_none(street: Street) -> None:
    """One that should take it and does not, because it is busy or hangs, is passed over."""
    street.open(0)
    street.counts.hold(1, 0)  # as a process that hangs
    street.connect(3)
    await street.until(lambda: sum(street.held) == 3)
    assert street.held == [3, 0, 0]


async def test_what_waits_in_the_listener_is_lost_with_no_process(street: Street) -> None:
    """A connection that one has not taken when it leaves is taken by the next one."""
    street.open(0)
    street.processes[0].acceptor.close()
    street.connect(2)
    street.open(1)
    await street.until(lambda: sum(street.held) == 2)
    assert street.held == [0, 2, 0]
