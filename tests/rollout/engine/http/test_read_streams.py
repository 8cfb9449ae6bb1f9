"""Answers that are read as they come."""

import asyncio
import time

import anyio
import pytest

from tests.rollout.engine.http.calls import SECONDS, STREAM_HEAD, calling
from tests.rollout.engine.http.raw_server import Peer, chunk


async def test_what_came_before_a_failure_is_read_first() -> None:
    """The rest of the stream is an error."""

    async def dies(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(b"first"))
        await asyncio.sleep(0.02)
        await peer.send(chunk(b"second"))
        peer.writer.transport.abort()

    async with calling(dies) as (client, _):
        connection = await client.post("/generate", b"{}", seconds=SECONDS)
        assert await connection.read(SECONDS) == b"first"
        await asyncio.sleep(0.05)
        assert await connection.read(SECONDS) == b"second"
        with pytest.raises(ConnectionError):
            await connection.read(SECONDS)
        connection.release()


async def test_a_reader_that_falls_behind_stops_the_server() -> None:
    """Of 32 MiB less than half leaves the server before anybody reads; then all of it comes, in order."""
    num_sent = 0

    async def floods(peer: Peer) -> None:
        nonlocal num_sent
        await peer.request()
        await peer.send(STREAM_HEAD)
        for number in range(512):
            await peer.send(chunk(bytes([number % 256]) * 2**16))
            num_sent += 1
        await peer.send(b"0\r\n\r\n")
        await peer.has_left()

    async with calling(floods) as (client, server):
        connection = await client.post("/generate", b"{}", seconds=SECONDS)
        received = bytearray(await connection.read(SECONDS))
        await asyncio.sleep(0.3)
        assert num_sent < 256
        while data := await connection.read(SECONDS):
            received += data
        connection.release()
        assert received[:: 2**16] == bytes(number % 256 for number in range(512))
        assert len(received) == 512 * 2**16
        assert len(server.peers) == 1


async def test_a_released_stream_that_ends_soon_leaves_its_connection() -> None:
    """Its end is read without a waiting caller, and belongs to no later call."""

    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def ends_later(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(STREAM_HEAD + chunk(b"all"))
            await may_end.wait()
            await peer.send(chunk(b"[DONE]") + b"0\r\n\r\n")
            may_end.clear()
            has_ended.set()

    async with calling(ends_later) as (client, server):
        for _ in range(3):
            connection = await client.post("/generate", b"{}", seconds=SECONDS)
            assert await connection.read(SECONDS) == b"all"
            connection.release(drain_seconds=SECONDS)
            may_end.set()
            await has_ended.wait()
            has_ended.clear()
            await asyncio.sleep(0.05)

    assert len(server.peers) == 1


async def test_a_released_stream_that_does_not_end_is_closed() -> None:
    """Nobody would notice it."""
    left = asyncio.Event()

    async def never_ends(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(b"all"))
        await peer.has_left()
        left.set()

    async with calling(never_ends) as (client, _):
        connection = await client.post("/generate", b"{}", seconds=SECONDS)
        await connection.read(SECONDS)
        connection.release(drain_seconds=0.05)
        with anyio.fail_after(SECONDS):
            await left.wait()


async def test_what_comes_in_a_window_is_read_together() -> None:
    """The first part comes at once, the next ones when the window after it is over, the end without a wait."""
    may_go_on, may_end = asyncio.Event(), asyncio.Event()

    async def streams(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(b"first"))
        await may_go_on.wait()
        for part in (b"second", b"third"):
            await peer.send(chunk(part))
            await asyncio.sleep(0.01)
        await may_end.wait()
        await peer.send(chunk(b"last") + b"0\r\n\r\n")
        await peer.has_left()

    async with calling(streams) as (client, _):
        connection = await client.post("/generate", b"{}", seconds=SECONDS)
        assert await connection.read(SECONDS) == b"first"
        connection.open_window(1)
        may_go_on.set()
        started = time.monotonic()
        assert await connection.read(SECONDS) == b"secondthird"
        connection.open_window(60)
        assert time.monotonic() - started > 0.1
        may_end.set()
        assert await connection.read(SECONDS) == b"last"
        assert await connection.read(SECONDS) == b""
        connection.release()
    assert time.monotonic() - started < 30


async def test_a_window_hides_no_failure() -> None:
    """What came in it is read at once when the connection breaks, and then the error."""

    async def dies(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM_HEAD + chunk(b"first"))
        await asyncio.sleep(0.01)
        await peer.send(chunk(b"second"))
        peer.writer.write_eof()
        await peer.has_left()

    async with calling(dies) as (client, _):
        connection = await client.post("/generate", b"{}", seconds=SECONDS)
        assert await connection.read(SECONDS) == b"first"
        connection.open_window(60)
        with anyio.fail_after(SECONDS):
            assert await connection.read(SECONDS) == b"second"
            with pytest.raises(ConnectionError):
                await connection.read(SECONDS)
        connection.release()
