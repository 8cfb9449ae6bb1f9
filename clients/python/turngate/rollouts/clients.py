"""The two clients of a run, which wait for admission as long as it takes."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from turngate.client import MAX_RETRIES, TIMEOUT_SECONDS, AsyncTurngate, Turngate
from turngate.connection import Connection


@asynccontextmanager
async def both_clients(
    like: Turngate | AsyncTurngate | None,
) -> AsyncIterator[tuple[AsyncTurngate, Turngate]]:
    """Clients of the same gateway and key as this one, or as the environment says."""
    chosen = like.connection if like is not None else _of_environment()
    options = {"timeout": chosen.timeout, "patience": math.inf}
    async with AsyncTurngate(
        chosen.root, chosen.api_key, max_retries=chosen.max_retries, **options
    ) as awaiting:
        with Turngate(
            chosen.root, chosen.api_key, max_retries=chosen.max_retries, **options
        ) as blocking:
            yield awaiting, blocking


def _of_environment() -> Connection:
    return Connection.of(
        None, None, timeout=TIMEOUT_SECONDS, max_retries=MAX_RETRIES, patience=math.inf
    )
