"""Calls over kept connections: each gets its own answer."""

import asyncio
import gc

import anyio
import pytest

from rollout.engine.http.client import HttpClient
from rollout.engine.http.response import Response
from tests.rollout.engine.http.calls import SECONDS, asked, calling
from tests.rollout.engine.http.raw_server import Handle, Peer, chunked, echoes, serving, whole


async def test_one_connection_serves_one_call_after_another() -> None:
    """Each call gets the answer to its own body."""
    async with calling(echoes) as (client, server):
        answers = [await asked(client, b"%d" % number) for number in range(20)]

    assert answers == [b"%d" % number for number in range(20)]
    assert len(server.peers) == 1


async def test_many_calls_at_once_get_their_own_answers() -> None:
    """Each has a connection of its own, which the next round uses again."""
    async with calling(echoes) as (client, server):
        for _ in range(2):
            bodies = [b"%d" % number for number in range(100)]
            assert await asyncio.gather(*(asked(client, body) for body in bodies)) == bodies

    assert len(server.peers) == 100


async def test_a_call_leaves_nothing_to_the_garbage_collector() -> None:
    """Nothing of a call outlives it, however it ends; a gateway collects garbage seldom."""
    gc.collect()
    earlier = answers_in_memory()  # of tests before, if something still holds them
    async with calling(echoes) as (client, _):
        gc.disable()
        try:
            for number in range(20):
                await asked(client, b"%d" % number)
                await last_call(client)
            await asyncio.sleep(0.01)
            left = [each for each in answers_in_memory() if each not in earlier]
        finally:
            gc.enable()

    assert left == []


async def last_call(client: HttpClient) -> None:
    connection = await client.post("/generate", b"{}", seconds=SECONDS, is_last_call=True)
    try:
        await connection.read_all(SECONDS)
    finally:
        connection.release()


def answers_in_memory() -> list[Response]:
    return [each for each in gc.get_objects() if type(each) is Response]


async def test_a_request_carries_what_the_server_needs() -> None:
    """The path of the URL stands before the route, and its name and password become a header."""
    heads = []

    async def keeps(peer: Peer) -> None:
        heads.append((await peer.request())[0])
        await peer.send(whole(b""))

    async with serving(keeps) as server:
        url = server.url.replace("://", "://me:a%3Ab@") + "/engines/1/"
        client = HttpClient(url, headers={"x-key": "k"}, connect_seconds=SECONDS)
        await asked(client, b"[]")
        await client.close()

    request, *fields = heads[0].strip().split("\r\n")
    assert request == "POST /engines/1/generate HTTP/1.1"
    assert set(fields) == {
        f"host: {server.url.removeprefix('http://')}",
        "content-type: application/json",
        "authorization: Basic bWU6YTpi",
        "x-key: k",
        "content-length: 2",
    }


async def test_a_key_with_a_line_break_is_no_header() -> None:
    """It would begin another one."""
    with pytest.raises(ValueError, match="line break"):
        HttpClient("http://127.0.0.1", headers={"x-key": "k\r\nx: y"}, connect_seconds=SECONDS)


async def closes(peer: Peer) -> None:
    """Says that it closes the connection after its answer, and does."""
    await peer.request()
    await peer.send(whole(str(peer.number).encode(), "connection: close"))


async def lasts(peer: Peer) -> None:
    """Answers until its end of the connection."""
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + str(peer.number).encode())


async def adds(peer: Peer) -> None:
    """Sends a second answer that nobody asked for."""
    await peer.request()
    await peer.send(whole(str(peer.number).encode()) + whole(b"stolen"))
    await peer.has_left()


async def adds_later(peer: Peer) -> None:
    """Sends a second answer while the connection rests."""
    await peer.request()
    await peer.send(whole(str(peer.number).encode()))
    await asyncio.sleep(0.01)
    await peer.send(whole(b"stolen"))
    await peer.has_left()


async def closes_silently(peer: Peer) -> None:
    """Closes a connection that rests."""
    await peer.request()
    await peer.send(whole(str(peer.number).encode()))


@pytest.mark.parametrize("handle", [closes, lasts, adds, adds_later, closes_silently])
async def test_a_connection_that_is_spent_serves_no_other_call(handle: Handle) -> None:
    """The next call opens a new one and never reads what belongs to another."""
    is_over = asyncio.Event()

    async def handle_first(peer: Peer) -> None:
        await handle(peer)
        is_over.set()

    async with calling(handle_first) as (client, _):
        assert await asked(client) == b"1"
        with anyio.fail_after(SECONDS):
            await is_over.wait()
        await asyncio.sleep(0.05)
        assert await asked(client) == b"2"


async def test_a_connection_rests_for_a_limited_time() -> None:
    """It is closed before the server does so, also if no other call comes."""
    left = asyncio.Event()

    async def answers(peer: Peer) -> None:
        await peer.request()
        await peer.send(whole(b""))
        await peer.has_left()
        left.set()

    async with calling(answers, idle_seconds=0.05) as (client, server):
        await asked(client)
        with anyio.fail_after(SECONDS):
            await left.wait()
        await asked(client)
        assert len(server.peers) == 2


async def test_the_last_call_of_a_connection_says_so() -> None:
    """The server may close it, and the next call has another."""
    heads = []

    async def answers(peer: Peer) -> None:
        while True:
            heads.append((await peer.request())[0])
            await peer.send(whole(b""))

    async with calling(answers) as (client, server):
        await last_call(client)
        await asked(client)

    assert ["connection: close" in head for head in heads] == [True, False]
    assert len(server.peers) == 2


async def test_interim_answers_are_passed_over() -> None:
    """And the connection stays."""

    async def hints(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.01)
            await peer.send(b"HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n" + chunked(b"an", b"swer"))

    async with calling(hints) as (client, server):
        assert [await asked(client) for _ in range(3)] == [b"answer"] * 3

    assert len(server.peers) == 1
