"""The Redis connections of the store: redis-py's, with commands packed in C.

redis-py's asynchronous connections pack each argument in Python, which is half of the gateway's cost of a call.
"""

from typing import Any

import hiredis
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rollout.errors import StoreUnavailable


def connect(url: str) -> Redis:
    """A client that connects on the first command, and once again if a connection is broken."""
    retry = Retry(NoBackoff(), 1)
    try:
        pool = ConnectionPool.from_url(url, protocol=2, socket_timeout=None, retry=retry)
    except ValueError:
        # The library's words repeat a part of the URL, which may be a part of the password.
        raise StoreUnavailable(
            "TURNGATE_REDIS_URL is no URL of a Redis; write redis://:password@host:port/0, "
            "and %2F for a slash in the password"
        ) from None
    pool.connection_class = with_packing(pool.connection_class)
    return Redis.from_pool(pool)


def with_packing(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection (TCP, TLS or unix socket), packing with hiredis."""

    class PackingConnection(kind):  # type: ignore[valid-type, misc]
        def pack_command(self, *args: Any) -> list[bytes]:
            name, *arguments = args
            # Some names of redis-py's own commands are two words.
            return [hiredis.pack_command((*name.split(), *arguments))]

    return PackingConnection
