"""The Redis connections of the store: redis-py's, with commands packed in C.

redis-py's asynchronous connections pack in Python, argument by argument, which is half of what a call costs the gateway.
"""

from typing import Any

import hiredis
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from rollout.errors import StoreUnavailable


def connect(url: str) -> Redis:
    """A client that connects when it must, and once more when a connection turns out to be broken."""
    retry = Retry(NoBackoff(), 1)
    try:
        pool = ConnectionPool.from_url(url, protocol=2, socket_timeout=None, retry=retry)
    except ValueError as error:
        raise StoreUnavailable(f"TURNGATE_REDIS_URL: {error}") from error
    pool.connection_class = with_packing(pool.connection_class)
    return Redis.from_pool(pool)


def with_packing(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection (TCP, TLS or unix socket), packing with hiredis."""

    class PackingConnection(kind):  # type: ignore[valid-type, misc]
        def pack_command(self, *args: Any) -> list[bytes]:
            name, *arguments = args
            # some of redis-py's own commands are named by two words
            return [hiredis.pack_command((*name.split(), *arguments))]

    return PackingConnection
