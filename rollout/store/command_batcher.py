"""Sends commands to Redis: those that are issued in one tick of the event loop share a write, and none costs a task or a timer.

Redis reads 16 KB of each connection, runs the commands that it has read of all, and then waits once for its disk. So large
commands are spread over several connections, to share that wait, while small ones share one connection. Commands on
different connections overtake each other: where the order matters, the caller awaits the first reply.
"""

import asyncio
from itertools import cycle
from typing import TypeAlias

import hiredis
from redis.asyncio import Redis

from rollout.errors import StoreUnavailable
from rollout.store.pipeline.lasting_connection import LastingConnection

Argument: TypeAlias = str | bytes | int | float

CONNECTIONS = 8  # at most: each is opened when the one before has more than Redis reads at a time
READ_BYTES = 1 << 14
# Beyond this a command is refused at once: a caller that waited for room would hold its command in memory all the same.
MAX_WAITING_BYTES = 1 << 25  # of one connection


class CommandBatcher:
    """Sends each command under a deadline, and once more if its connection breaks before the reply."""

    def __init__(
        self, redis: Redis, *, deadline_seconds: float, max_waiting_bytes: int = MAX_WAITING_BYTES
    ) -> None:
        self.redis = redis
        timeout = redis.connection_pool.connection_kwargs.get("socket_timeout")
        deadline_seconds = min(deadline_seconds, timeout or deadline_seconds)
        self._max_waiting_bytes = max_waiting_bytes
        self._connections = [
            LastingConnection(redis, deadline_seconds=deadline_seconds) for _ in range(CONNECTIONS)
        ]
        self._in_turn = cycle(self._connections)
        self._connection = next(self._in_turn)
        self._is_closed = False

    def submit(self, *command: Argument) -> asyncio.Future[object]:
        """Queue a command; the future gets its reply, or the error that Redis answered."""
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # any length
        connection = self._connection
        num_waiting = connection.num_waiting_bytes
        if num_waiting and num_waiting + len(packed) > READ_BYTES:
            connection = self._connection = next(self._in_turn)
            if connection.num_waiting_bytes > self._max_waiting_bytes:
                raise StoreUnavailable(
                    f"{connection.num_waiting_bytes:,} bytes wait to be sent to it"
                )
        if self._is_closed:
            raise StoreUnavailable("the store was closed")
        return connection.submit(packed)

    async def close(self) -> None:
        """Fail the commands that are still waiting, and refuse later ones."""
        self._is_closed = True
        for connection in self._connections:
            await connection.close(StoreUnavailable("the store was closed"))
