"""The way to the store's Redis: redis-py reads its URL and opens each connection, by TCP, TLS or a unix socket.

It also sends the password, the database and the client's name. The stream that it opens is ready for commands.
"""

import asyncio

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from rollout.errors import StoreUnavailable

# Each project that a process follows listens on a connection of its own; the library's limit would be 100.
MAX_CONNECTIONS = 1 << 31


def connect(url: str) -> Redis:
    """A client that connects on the first command, and once again if a connection is broken."""
    retry = Retry(NoBackoff(), 1)
    try:
        pool = ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            retry=retry,
            max_connections=MAX_CONNECTIONS,
        )
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RedisError):
        # The library's words repeat a part of the URL, which may be a part of the password.
        raise StoreUnavailable(
            "TURNGATE_REDIS_URL is no URL of a Redis; write redis://:password@host:port/0, "
            "and %2F for a slash in the password"
        ) from None
    return Redis.from_pool(pool)


def client_of_node(redis: Redis, host: str, port: int) -> Redis:
    """A client with the same options for another node of its cluster."""
    pool = redis.connection_pool
    options = {**pool.connection_kwargs, "host": host, "port": port}
    by_socket = options.pop("path", None) is not None
    kind = Connection if by_socket else pool.connection_class
    return Redis.from_pool(ConnectionPool(connection_class=kind, **options))


async def open_stream(redis: Redis) -> asyncio.StreamWriter:
    """An open connection that answers as RESP 2, whatever the URL says, for a protocol of the caller's.

    The caller keeps the writer as long as its transport, which the writer closes when it is deleted.
    """
    pool = redis.connection_pool
    options = {**pool.connection_kwargs, "protocol": 2, "decode_responses": False}
    connection: AbstractConnection = pool.connection_class(**options)
    try:
        if isinstance(connection, SSLConnection):  # it reads files with hundreds of certificates
            await asyncio.to_thread(connection.ssl_context.get)
        await connection.connect()  # type: ignore[no-untyped-call]
        if await connection.can_read():
            raise RedisConnectionError("it closed the connection, or sent what nobody asked for")
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    # redis-py has no public way to hand its stream over.
    writer = connection._writer  # noqa: SLF001
    connection._reader = connection._writer = None  # noqa: SLF001
    assert writer is not None
    return writer
