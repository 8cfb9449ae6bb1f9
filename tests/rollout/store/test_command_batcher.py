"""How commands share writes and connections, on a real Redis and on a scripted one."""

import asyncio
import contextlib
import secrets

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.episode_records import EpisodeSpec
from rollout.errors import StoreUnavailable
from rollout.store.command_batcher import CONNECTIONS, READ_BYTES
from rollout.store.store import Store
from tests.profiles import examples
from tests.rollout.play import commit
from tests.rollout.store.pipeline.batchers import batcher_at
from tests.rollout.store.pipeline.scripted_redis import echo, scripted_redis
from tests.rollout.turns import output, turn

SIZES = st.sampled_from([0, 1, 100, READ_BYTES // 2, READ_BYTES, 5 * READ_BYTES])


def kill(admin: redis.Redis, name: str) -> None:
    """Close the connections of the client of this name, as a failing network does."""
    for client in admin.client_list():
        if client["name"] == name:
            with contextlib.suppress(redis.ResponseError):
                admin.client_kill_filter(_id=client["id"])


async def test_the_commands_of_one_tick_leave_in_one_write() -> None:
    """However many callers issue them."""
    async with scripted_redis(echo) as server, batcher_at(server.url) as batcher:
        await batcher.submit("GET", "first")

        replies = await asyncio.gather(*(batcher.submit("GET", f"k{n}") for n in range(50)))

        assert replies == [b"k%d" % n for n in range(50)]
        assert [len(read) for read in server.reads] == [1, 50]
        assert server.num_connections == 1


async def test_large_commands_are_spread_over_connections() -> None:
    """Redis reads a part of each connection before it waits for its disk, so commands on several connections wait together."""
    async with scripted_redis(echo) as server, batcher_at(server.url) as batcher:
        value = "x" * (READ_BYTES // 2)
        replies = await asyncio.gather(
            *(batcher.submit("SET", value, str(n)) for n in range(10 * CONNECTIONS))
        )

        assert replies == [b"%d" % n for n in range(10 * CONNECTIONS)]
        assert server.num_connections == CONNECTIONS


@given(
    sizes=st.lists(SIZES, min_size=1, max_size=30),
    killed_after=st.none() | st.integers(0, 30),
    left=st.sets(st.integers(0, 29)),
)
@examples(0.5)
def test_every_caller_gets_its_own_reply(
    redis_url: str, sizes: list[int], killed_after: int | None, left: set[int]
) -> None:
    """Whatever the sizes, whoever leaves, and when the connections are killed once in between."""
    name = secrets.token_hex(8)

    async def call() -> list[object]:
        async with batcher_at(f"{redis_url}?client_name={name}") as batcher:
            await batcher.submit("PING")
            calls = []
            for number, size in enumerate(sizes):
                calls.append(batcher.submit("ECHO", f"{number}" + "x" * size))
                if number in left:
                    calls[-1].cancel()
                if number == killed_after:
                    await asyncio.to_thread(kill, admin, name)
            return await asyncio.gather(*calls, return_exceptions=True)

    with redis.Redis.from_url(redis_url) as admin:
        replies = asyncio.run(call())

    for number, (size, reply) in enumerate(zip(sizes, replies, strict=True)):
        if number in left:
            assert isinstance(reply, asyncio.CancelledError)
        else:
            assert reply == f"{number}".encode() + b"x" * size


async def test_turns_are_committed_once_while_connections_are_killed(redis_url: str) -> None:
    """A commit is repeated on the next connection, or says that the store is unavailable and may be repeated by its caller."""
    name, project = secrets.token_hex(8), secrets.token_hex(8)
    store = Store.connect(f"{redis_url}?client_name={name}", project=project)
    await store.open(EpisodeSpec("ep_1"))

    async def keep_committing(worker: int) -> None:
        for number in range(20):
            made = turn(f"t{worker}-{number}", [worker, number], output([number] * 500))
            while True:
                with contextlib.suppress(StoreUnavailable):
                    await commit(store, "ep_1", made)
                    break

    committing = asyncio.gather(*(keep_committing(worker) for worker in range(16)))
    with redis.Redis.from_url(redis_url) as admin:
        while not committing.done():
            await asyncio.to_thread(kill, admin, name)
            await asyncio.wait([committing], timeout=0.05)
    await committing

    ids = [made.id for made in await store.turns("ep_1")]
    assert sorted(ids) == sorted(f"t{worker}-{n}" for worker in range(16) for n in range(20))
    await store.close()


async def test_a_command_that_cannot_be_packed_harms_no_other(redis_url: str) -> None:
    """Its caller alone gets the error."""
    async with batcher_at(redis_url) as batcher:
        before = batcher.submit("ECHO", "before")
        with pytest.raises(UnicodeEncodeError):
            batcher.submit("ECHO", "\ud800")

        assert await before == b"before"
        assert await batcher.submit("ECHO", "after") == b"after"
