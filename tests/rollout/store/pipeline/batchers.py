"""Batchers for the tests of what is below the store."""

import contextlib
from collections.abc import AsyncIterator

from rollout.store.command_batcher import CommandBatcher
from rollout.store.connection import connect


@contextlib.asynccontextmanager
async def batcher_at(
    url: str, *, deadline_seconds: float = 5.0, max_waiting_bytes: int = 1 << 25
) -> AsyncIterator[CommandBatcher]:
    """A batcher for this Redis, closed at the end of the block."""
    redis = connect(url)
    batcher = CommandBatcher(
        redis, deadline_seconds=deadline_seconds, max_waiting_bytes=max_waiting_bytes
    )
    yield batcher
    await batcher.close()
    await redis.aclose()
