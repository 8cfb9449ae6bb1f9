"""The forms of a Redis's URL, and what a connection says before its first command."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis

from rollout.errors import StoreUnavailable
from rollout.store.connection import connect
from rollout.store.store import Store
from tests.certificates import certificate
from tests.rollout.store.pipeline.batchers import batcher_at
from tests.rollout.store.pipeline.scripted_redis import echo, scripted_redis

FORMS = [
    ("redis://127.0.0.1:{port}", []),
    ("redis://:s%2Fecret@127.0.0.1:{port}", [(b"AUTH", b"s/ecret")]),
    (
        "redis://worker:secret@127.0.0.1:{port}/3?client_name=gateway",
        [(b"AUTH", b"worker", b"secret"), (b"CLIENT", b"SETNAME", b"gateway"), (b"SELECT", b"3")],
    ),
    ("redis://127.0.0.1:{port}?db=2&socket_connect_timeout=3", [(b"SELECT", b"2")]),
    ("redis://127.0.0.1:{port}?protocol=3&decode_responses=True&socket_timeout=2", []),
    ("redis://127.0.0.1:{port}?health_check_interval=30&retry_on_timeout=True", [(b"PING",)]),
    ("redis://127.0.0.1:{port}?max_connections=2&socket_keepalive=no&socket_read_size=99", []),
]


async def test_any_number_of_projects_can_be_followed(redis_url: str) -> None:
    """Each listens on a connection of its own, beyond the hundred at which redis-py stops."""
    store = Store.connect(redis_url)
    async with AsyncExitStack() as following:
        for number in range(120):
            await following.enter_async_context(store.of(f"followed-{number}").signals())
    await store.close()


@pytest.mark.parametrize(("form", "said"), FORMS)
async def test_every_part_of_a_url_is_used(form: str, said: list[tuple[bytes, ...]]) -> None:
    """User, password, database, name and redis-py's options; replies are RESP 2, as bytes."""
    async with scripted_redis(echo) as server:
        async with batcher_at(form.format(port=server.port)) as batcher:
            assert await batcher.submit("GET", "k") == b"k"

        about_library = (b"CLIENT", b"SETINFO")
        assert [each for each in server.opening if each[:2] != about_library] == said


@pytest.mark.parametrize("query", ["colour=green", "db=x", "ssl_ca_certs=x", "socket_timeout=x"])
def test_an_option_that_is_none_is_refused_at_once(query: str) -> None:
    """Not by each call."""
    with pytest.raises(StoreUnavailable, match="TURNGATE_REDIS_URL"):
        connect(f"redis://127.0.0.1:1?{query}")


async def test_a_unix_socket_and_a_database(redis_url: str) -> None:
    """As the run's own Redis has them."""
    async with batcher_at(f"{redis_url}?db=9&protocol=3") as batcher:
        await batcher.submit("SET", "test_connection", "here")
        with redis.Redis.from_url(redis_url, db=9) as admin:
            assert admin.getdel("test_connection") == b"here"
        assert await batcher.submit("CONFIG", "GET", "databases") == [b"databases", b"16"]


@pytest.mark.parametrize(
    ("welcome", "why"),
    [
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", "the password"),
        (b"-ERR max number of clients reached\r\n", "max number of clients"),
    ],
)
async def test_a_refused_connection_says_why(welcome: bytes, why: str) -> None:
    """Each call says so until Redis accepts one."""
    async with (
        scripted_redis(echo) as server,
        batcher_at(f"redis://:secret@127.0.0.1:{server.port}") as batcher,
    ):
        server.welcome = welcome
        with pytest.raises(StoreUnavailable, match=why):
            await batcher.submit("ECHO", "k")
        server.welcome = b"+OK\r\n"

        assert await batcher.submit("ECHO", "k") == b"k"


async def test_a_server_that_hangs_up_at_once_is_unavailable() -> None:
    """As one that has too many clients."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, batcher_at(f"redis://127.0.0.1:{port}") as batcher:
        with pytest.raises(StoreUnavailable, match="check Redis and retry"):
            await batcher.submit("GET", "k")


async def test_tls(tmp_path: Path) -> None:
    """A server whose certificate the given authority signed gets commands, another one none."""
    trusted, other = certificate(tmp_path / "trusted"), certificate(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    async with scripted_redis(echo, tls=context) as server:
        url = f"rediss://:secret@127.0.0.1:{server.port}/1?ssl_ca_certs="
        async with batcher_at(f"{url}{trusted}") as batcher:
            value = b"x" * 1_000_000
            assert await batcher.submit("SET", "k", value) == value
        assert (b"AUTH", b"secret") in server.opening

        for authority, why in ((other, "CERTIFICATE_VERIFY_FAILED"), ("missing", "No such file")):
            async with batcher_at(f"{url}{authority}") as batcher:
                with pytest.raises(StoreUnavailable, match=why):
                    await batcher.submit("GET", "k")
