"""A connection that breaks, hangs or is too slow, and a process that was stopped."""

import asyncio
import time

import pytest
from redis.exceptions import ResponseError

from rollout.errors import StoreUnavailable
from tests.rollout.store.pipeline.batchers import batcher_at
from tests.rollout.store.pipeline.scripted_redis import CLOSE, Command, echo, scripted_redis

KB = 1 << 10


@pytest.mark.parametrize("part", [b"", b"$100\r\nhalf of"])
async def test_a_command_is_sent_once_more_if_its_connection_breaks(part: bytes) -> None:
    """Before the reply or in the middle of it: the caller gets the reply that the second connection brings."""

    def answer(command: Command) -> bytes:
        return part + CLOSE if server.num_connections == 1 else echo(command)

    async with scripted_redis(answer) as server, batcher_at(server.url) as batcher:
        replies = await asyncio.gather(*(batcher.submit("GET", f"k{n}") for n in range(5)))

        assert replies == [b"k0", b"k1", b"k2", b"k3", b"k4"]
        assert server.num_connections == 2


async def test_a_command_is_sent_twice_at_most() -> None:
    """Then the store is unavailable, and the next command opens the next connection."""

    def answer(command: Command) -> bytes:
        return CLOSE if server.num_connections < 3 else echo(command)

    async with scripted_redis(answer) as server, batcher_at(server.url) as batcher:
        with pytest.raises(StoreUnavailable, match="closed the connection"):
            await batcher.submit("GET", "k")

        assert server.commands == [(b"GET", b"k")] * 2
        assert await batcher.submit("GET", "k") == b"k"


async def test_a_cancelled_command_is_not_sent_once_more() -> None:
    """Nobody waits for its reply."""

    def answer(command: Command) -> bytes:
        if server.num_connections > 1:
            return echo(command)
        return CLOSE if command[-1] == b"last" else b""

    async with scripted_redis(answer) as server, batcher_at(server.url) as batcher:
        left = batcher.submit("GET", "left")
        async with asyncio.timeout(5):
            while not server.commands:
                await asyncio.sleep(0.001)
        left.cancel()

        assert await batcher.submit("GET", "last") == b"last"
        assert [command[-1] for command in server.commands] == [b"left", b"last", b"last"]


async def test_a_connection_that_the_library_cannot_make_fails_at_once() -> None:
    """Whatever error it raises, its kind is told and no part of the URL; the next command tries again."""
    url = "rediss://:secret@127.0.0.1:1?ssl_ca_data=%C3%A9"  # certificates must be ASCII
    async with batcher_at(url, deadline_seconds=30) as batcher:
        for _ in range(2):
            refused = batcher.submit("GET", "k"), batcher.submit("GET", "k")
            for each in refused:
                with pytest.raises(StoreUnavailable, match=r"opened: TypeError\)"):
                    await asyncio.wait_for(each, 5)


async def test_closing_fails_what_waits_for_a_connection() -> None:
    """At once, however long the deadline is."""
    async with (
        scripted_redis(echo) as server,
        batcher_at(server.url, deadline_seconds=30) as batcher,
    ):
        server.welcome = b""
        waiting = batcher.submit("GET", "k")
        await asyncio.wait([waiting], timeout=0.05)
        await batcher.close()

        with pytest.raises(StoreUnavailable, match="closed"):
            await asyncio.wait_for(waiting, 5)


REFUSALS = [
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-ERR Error running script: @user_script: 1: -READONLY You can't write against a replica.\r\n",
]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_replica_is_left_for_the_address_of_today(refusal: bytes) -> None:
    """After a failover a name may still lead to the old server: its reads are answered, and the next call connects again."""

    def answer(command: Command) -> bytes:
        is_refused = server.num_connections == 1 and command[0] == b"SET"
        return refusal if is_refused else echo(command)

    async with scripted_redis(answer) as server, batcher_at(server.url) as batcher:
        refused, read = batcher.submit("SET", "k", "v"), batcher.submit("GET", "k")

        with pytest.raises(ResponseError, match="You can't write"):
            await refused
        assert await read == b"k"
        assert await batcher.submit("SET", "k", "v") == b"v"
        assert server.num_connections == 2


async def test_only_the_late_command_fails() -> None:
    """A connection that brings no reply in time is dropped; a command that is not late yet gets its reply on the next one."""

    def answer(command: Command) -> bytes:
        return b"" if server.num_connections == 1 else echo(command)

    async with (
        scripted_redis(answer) as server,
        batcher_at(server.url, deadline_seconds=2) as batcher,
    ):
        late = batcher.submit("GET", "late")
        await asyncio.wait([late], timeout=1)
        young = batcher.submit("GET", "young")

        with pytest.raises(StoreUnavailable, match=r"no answer within 2 s"):
            await late
        assert await young == b"young"


async def test_a_server_that_says_nothing_is_late_too() -> None:
    """The deadline counts from the call, whatever the command waits for."""
    async with (
        scripted_redis(echo) as server,
        batcher_at(server.url, deadline_seconds=0.2) as batcher,
    ):
        server.welcome = b""
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.2 s"):
            await batcher.submit("GET", "k")

        assert time.monotonic() - started < 3


async def test_the_url_may_shorten_the_deadline() -> None:
    """`socket_timeout` is what redis-py calls it."""
    async with (
        scripted_redis(lambda _: b"") as server,
        batcher_at(f"{server.url}?socket_timeout=0.1") as batcher,
    ):
        with pytest.raises(StoreUnavailable, match=r"no answer within 0\.1 s"):
            await batcher.submit("GET", "k")


async def test_a_process_that_was_stopped_reads_its_replies_first(redis_url: str) -> None:
    """A reply that lies in the socket when the process goes on counts, however late it is."""
    async with batcher_at(redis_url, deadline_seconds=1) as batcher:
        assert await batcher.submit("ECHO", "before") == b"before"
        reply = batcher.submit("ECHO", "during")
        await asyncio.sleep(0)  # it is sent
        time.sleep(1.5)  # noqa: ASYNC251 - what SIGSTOP does to the process

        assert await reply == b"during"


async def test_what_may_wait_is_bounded() -> None:
    """A server that reads too slowly fills the queue; then a command is refused, and those before it are answered later."""
    async with (
        scripted_redis(lambda command: echo((command[1],))) as server,
        batcher_at(server.url, max_waiting_bytes=512 * KB) as batcher,
    ):
        server.goes_on.clear()
        accepted: list[asyncio.Future[object]] = []

        async def keep_sending() -> None:
            while True:
                accepted.append(batcher.submit("SET", f"k{len(accepted)}", b"x" * 128 * KB))
                await asyncio.sleep(0)

        with pytest.raises(StoreUnavailable, match="bytes wait"):
            await keep_sending()
        server.goes_on.set()

        assert await asyncio.gather(*accepted) == [b"k%d" % n for n in range(len(accepted))]
        assert len(accepted) < 100
        assert await batcher.submit("SET", "later", b"x") == b"later"


async def test_closing_fails_what_waits_and_what_comes_later() -> None:
    """Also a command that waits for a connection."""
    async with scripted_redis(lambda _: b"") as server, batcher_at(server.url) as batcher:
        sent = batcher.submit("GET", "k")
        await asyncio.wait([sent], timeout=0.05)
        unsent = batcher.submit("GET", "k")
        await batcher.close()

        for waiting in (sent, unsent):
            with pytest.raises(StoreUnavailable, match="closed"):
                await waiting
        with pytest.raises(StoreUnavailable, match="closed"):
            await batcher.submit("GET", "k")
