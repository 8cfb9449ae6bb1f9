"""Housekeeping of one project: act on deadlines, and move policies and settled episodes to the ledger.

Any number of gateways may do this at once: a sweep is one atomic script, and the ledger accepts an episode twice.
Between two rounds the settler sleeps until the next deadline or until the store announces a change; it never polls.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from rollout.catching_up import raise_counters
from rollout.episode.episode_records import SettledEpisode
from rollout.errors import DamagedEpisode, LedgerUnavailable, ValueRefused
from rollout.ledger.ledger import Ledger
from rollout.policies import Publication
from rollout.store.repair_transitions import WholePass
from rollout.store.store import Store

log = logging.getLogger(__name__)

PAGE = 100  # episodes per transaction of the ledger
REPAIR_SECONDS = 1.0  # at a time
RETRY_SECONDS = 2.0  # before another try, when the database is down


async def settle(store: Store, ledger: Ledger) -> int:
    """Move the episodes and policies of the store's outboxes to the ledger; returns how many episodes.

    A policy follows its episodes, of all shards: the ledger never has one without knowing what was trained into it.
    """
    publications = await store.published()
    moved = sum([await settle_shard(shard, ledger) for shard in store.shards])
    if publications:
        await record_published(store, ledger, publications)
        await store.published_done(publications)
    return moved


async def settle_shard(store: Store, ledger: Ledger) -> int:
    """Move the settled episodes of one shard to the ledger; returns how many."""
    moved = 0
    while episodes := await store.settled(PAGE):
        recorded = await record(store, ledger, episodes)
        if not recorded:
            break  # those that were written anew are tried again in the next round
        moved += recorded
    return moved


async def record_published(
    store: Store, ledger: Ledger, publications: Sequence[Publication]
) -> None:
    """Write policies to the ledger; one that it refuses alone is left out with an error in the log."""
    try:
        await ledger.record_publications(store.project, publications)
    except ValueRefused as error:
        if len(publications) > 1:
            for publication in publications:
                await record_published(store, ledger, [publication])
            return
        fields = {"version": publications[0].policy.version, "error": str(error)}
        log.error("the ledger refuses a policy", extra=fields)


async def record(store: Store, ledger: Ledger, episodes: Sequence[SettledEpisode]) -> int:
    """Write episodes to the ledger; of a page that it refuses, each alone, and one that it refuses alone is moved aside."""
    try:
        await ledger.settle(store.project, episodes)
    except ValueRefused as error:
        if len(episodes) > 1:
            return sum([await record(store, ledger, [episode]) for episode in episodes])
        await store.set_aside(DamagedEpisode(episodes[0].header.id, str(error)))
        return 0
    await store.settle_done(episodes)
    return len(episodes)


class Settler:
    """Acts on a project's deadlines and empties its outboxes until cancelled."""

    def __init__(
        self, store: Store, ledger: Ledger, *, clock: Callable[[], float] = time.time
    ) -> None:
        first, *others = store.shards
        self._shards = [ShardSettler(first, store, ledger, settling=store, clock=clock)]
        self._shards += [
            ShardSettler(shard, store, ledger, settling=shard, clock=clock) for shard in others
        ]

    async def run(self) -> None:
        """Work until cancelled; raises what the store raises, so that `run_restarted` begins again."""
        if len(self._shards) == 1:
            return await self._shards[0].run()
        running = [asyncio.ensure_future(shard.run()) for shard in self._shards]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            for each in running:
                if each.done():
                    each.result()
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)


class ShardSettler:
    """Of one shard. That of the first also moves policies, after the episodes of all shards."""

    def __init__(
        self,
        shard: Store,
        whole: Store,
        ledger: Ledger,
        *,
        settling: Store,
        clock: Callable[[], float],
    ) -> None:
        self._store = shard
        self._whole = whole
        self._settling = settling
        self._ledger = ledger
        self._clock = clock
        self._is_caught_up = False

    async def run(self) -> None:
        """Work until cancelled; raises what the store raises, so that `run_restarted` begins again.

        It begins again after each outage of Redis, from which the store may come back with older data.
        """
        self._is_caught_up = False
        async with self._store.signals() as signals:
            repair: WholePass | None = WholePass()
            while True:
                try:
                    wait_seconds = await self._round()
                finally:  # what stops the round may be what the repair mends
                    if repair is not None:
                        is_over = await self._go_on_with(repair)
                        repair = None if is_over else repair
                        wait_seconds = 0.0  # what it found may be due
                if await signals.wait(wait_seconds) == "damage":
                    repair = WholePass()

    async def _go_on_with(self, repair: WholePass) -> bool:
        """Check records for a second, so that deadlines do not wait for the end. Returns whether all were checked."""
        until = time.monotonic() + REPAIR_SECONDS
        while time.monotonic() < until:
            if repair.is_over(await self._store.repair_slice()):
                return True
        return False

    async def _round(self) -> float | None:
        """Do what is due. Returns the seconds until the next deadline, None if there is none."""
        try:
            deadline = await self._store.sweep()
        finally:  # what hinders the one is no reason to leave out the other
            is_settled = await self._settle()
        if not is_settled:
            return RETRY_SECONDS
        return None if deadline is None else max(0.0, deadline - self._clock())

    async def _settle(self) -> bool:
        try:
            if not self._is_caught_up:
                await raise_counters(self._whole, self._ledger)
                self._is_caught_up = True
            await settle(self._settling, self._ledger)
        except LedgerUnavailable as error:
            log.warning("ledger unavailable", extra={"error": str(error)})
            return False
        return True
