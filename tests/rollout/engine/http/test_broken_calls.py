"""Calls that fail, run out of time or are given up: the connection goes with them, and the next call has its own answer."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest

from rollout.engine.http.client import HttpClient
from tests.rollout.engine.http.calls import LARGE, SECONDS, STREAM_HEAD, asked, calling
from tests.rollout.engine.http.raw_server import Peer, chunk, echoes, serving, whole


async def test_a_call_into_a_closing_connection_is_lost_and_not_repeated() -> None:
    """The server may have begun it, and would refuse the same id; its death must show at once."""
    num_requests = 0

    async def answers_once(peer: Peer) -> None:
        nonlocal num_requests
        await peer.request()
        num_requests += 1
        await peer.send(whole(b""))
        await peer.request()
        num_requests += 1

    async with calling(answers_once) as (client, server):
        await asked(client)
        with pytest.raises(ConnectionError, match="before the answer"):
            await asked(client)
        assert (num_requests, len(server.peers)) == (2, 1)
        await asked(client)


async def test_a_peer_that_stops_sending_is_not_waited_for() -> None:
    """It has closed its half in the middle of an answer and would go on reading forever."""

    async def closes_its_half(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(b"half")[:-2])
        peer.writer.write_eof()
        await peer.has_left()

    async with calling(closes_its_half) as (client, _):
        with anyio.fail_after(SECONDS), pytest.raises(ConnectionError, match="inside the answer"):
            await asked(client)


async def test_a_deadline_ends_the_call_and_its_connection() -> None:
    """The answer that comes later reaches nobody."""

    async def answers_late(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.has_left()
        await peer.send(whole(str(peer.number).encode()))

    async with calling(answers_late) as (client, _):
        with pytest.raises(TimeoutError):
            await client.ask("/generate", b"{}", seconds=0.05)
        assert await asked(client) == b"2"


async def test_nobody_listens() -> None:
    """The error names the address."""
    async with serving(echoes) as server:
        pass
    client = HttpClient(server.url, headers={}, connect_seconds=SECONDS)
    with pytest.raises(ConnectionError, match=r"cannot connect to 127\.0\.0\.1:"):
        await asked(client)
    await client.close()


async def hangs_before_reading(peer: Peer) -> None:
    await peer.reader.readexactly(1)


async def hangs_before_the_answer(peer: Peer) -> None:
    await peer.request()


async def hangs_in_the_answer(peer: Peer) -> None:
    await peer.request()
    await peer.send(STREAM_HEAD + chunk(b"part"))


@pytest.mark.parametrize(
    ("hangs", "body"),
    [
        (hangs_before_reading, LARGE),
        (hangs_before_the_answer, b"{}"),
        (hangs_in_the_answer, b"{}"),
    ],
)
async def test_a_cancelled_call_leaves_nothing(
    hangs: Callable[[Peer], Awaitable[None]], body: bytes
) -> None:
    """Its connection is closed wherever the call was, and the next call has its own answer."""
    reached, cancelled, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hangs_once(peer: Peer) -> None:
        if peer.number > 1:
            await echoes(peer)
        await hangs(peer)
        reached.set()
        await cancelled.wait()
        await peer.has_left()
        left.set()

    async with calling(hangs_once) as (client, _):
        call = asyncio.ensure_future(asked(client, body))
        await reached.wait()
        await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        cancelled.set()
        assert await asked(client, b"mine") == b"mine"
        await left.wait()


@pytest.mark.parametrize("num_steps", range(8))
async def test_a_call_may_be_cancelled_at_any_step(num_steps: int) -> None:
    """After each number of turns of the loop, from the first look-up of the address on."""
    async with calling(echoes) as (client, _):
        call = asyncio.ensure_future(asked(client, b"theirs"))
        for _ in range(num_steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        answers = await asyncio.gather(*(asked(client, b"%d" % number) for number in range(3)))

    assert answers == [b"0", b"1", b"2"]


async def test_closing_the_client_ends_its_calls() -> None:
    """Those that wait get an error, and later ones too."""
    reached = asyncio.Event()

    async def hangs(peer: Peer) -> None:
        await peer.request()
        reached.set()
        await peer.has_left()

    async with calling(hangs) as (client, _):
        call = asyncio.ensure_future(asked(client))
        await reached.wait()
        await client.close()
        with pytest.raises(ConnectionError, match="closed"):
            await call
        with pytest.raises(ConnectionError, match="the client is closed"):
            await asked(client)


async def test_a_connection_that_opens_after_the_closing_is_closed() -> None:
    """The call that waited for it fails."""
    left = asyncio.Event()

    async def waits(peer: Peer) -> None:
        await peer.has_left()
        left.set()

    async with calling(waits) as (client, server):
        call = asyncio.ensure_future(asked(client))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ConnectionError, match="closed"):
            await call
        await asyncio.sleep(0.01)
        if server.peers:
            await asyncio.wait_for(left.wait(), SECONDS)
