"""Bodies that no socket takes at once."""

import asyncio

import pytest

from tests.rollout.engine.http.calls import LARGE, SECONDS, asked, calling
from tests.rollout.engine.http.raw_server import Peer, whole


async def test_a_large_body_leaves_the_loop_to_others() -> None:
    """A server that reads nothing yet holds up its own call alone, and gets every byte later."""
    may_read = asyncio.Event()
    received = []

    async def reads_late(peer: Peer) -> None:
        if peer.number == 1:
            await may_read.wait()
        _, body = await peer.request()
        received.append(body)
        await peer.send(whole(b"%d" % len(body)))

    async with calling(reads_late) as (client, _), asyncio.TaskGroup() as tasks:
        large = tasks.create_task(asked(client, LARGE))
        await asyncio.sleep(0.05)
        assert await asked(client, b"small") == b"5"
        assert not large.done()
        may_read.set()

    assert large.result() == b"%d" % len(LARGE)
    assert received == [b"small", LARGE]


async def test_a_refusal_ends_the_sending_of_a_large_body() -> None:
    """The server has read enough; the connection is of no use any more."""

    async def refuses(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(whole(b"too large", status="413 Payload Too Large"))
        await peer.has_left()

    async with calling(refuses) as (client, server):
        for _ in range(2):
            answer = await client.ask("/generate", LARGE, seconds=SECONDS)
            assert answer == (413, b"too large")
        assert len(server.peers) == 2


async def test_a_server_that_takes_no_more_of_a_body_lets_a_deadline_pass() -> None:
    """Sending has the deadline of the call."""

    async def reads_nothing(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with calling(reads_nothing) as (client, _):
        with pytest.raises(TimeoutError):
            await client.ask("/generate", LARGE, seconds=0.1)
