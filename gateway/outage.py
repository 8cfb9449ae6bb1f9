"""Waiting at the start until Redis and the ledger can be used: they may be restarting, too."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import (
    before_sleep_log,
    retry,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from rollout.errors import LedgerAddressWrong, LedgerUnavailable, StoreUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_WAIT_SECONDS = 2.0


async def until_available(connect: Callable[[], Awaitable[T]], *, seconds: float) -> T:
    """What `connect` returns; a store or ledger that is away is tried again for this time."""

    @retry(
        retry=retry_if_exception_type((StoreUnavailable, LedgerUnavailable))
        & retry_if_not_exception_type(LedgerAddressWrong),
        wait=wait_random_exponential(0.2, LONGEST_WAIT_SECONDS),
        stop=stop_after_delay(seconds),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    async def attempt() -> T:
        return await connect()

    return await attempt()
