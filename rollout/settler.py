"""Housekeeping of one project: deadlines are kept, and settled episodes reach the ledger.

Any number of gateways may do this at once: a sweep is one atomic script, and the ledger may hear of an episode twice.
Between two rounds the settler sleeps until the next deadline or until the store announces a change; it never polls.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from rollout.errors import LedgerUnavailable, StoreUnavailable
from rollout.ledger.ledger import Ledger
from rollout.store.store import Store

log = logging.getLogger(__name__)

PAGE = 100  # episodes per transaction of the ledger
RETRY_SECONDS = 2.0  # before another try, when Redis or the database is down


async def settle(store: Store, ledger: Ledger) -> int:
    """Move everything that is settled from the store's outbox to the ledger; returns how many episodes."""
    moved = 0
    while episodes := await store.settled(PAGE):
        await ledger.settle(store.project, episodes)
        await store.settle_done(episodes)
        moved += len(episodes)
    return moved


class Settler:
    """Keeps a project's deadlines and drains its outbox until cancelled."""

    def __init__(
        self, store: Store, ledger: Ledger, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock

    async def run(self) -> None:
        """Work until cancelled, through outages of Redis and of the database."""
        while True:
            try:
                async with self._store.signals() as signals:
                    while True:
                        await signals.wait(await self._round())
            except StoreUnavailable as error:
                log.warning("store unavailable", extra={"error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)

    async def _round(self) -> float | None:
        """Do what is due; how long nothing will be, None for until something changes."""
        deadline = await self._store.sweep()
        try:
            await settle(self._store, self._ledger)
        except LedgerUnavailable as error:
            log.warning("ledger unavailable", extra={"error": str(error)})
            return RETRY_SECONDS
        return None if deadline is None else max(0.0, deadline - self._clock())
