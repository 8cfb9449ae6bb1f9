"""The store of a project that is spread over several shards. Callers use it as any store."""

import asyncio
import time
from collections.abc import Callable, Sequence

from rollout.store.cluster_nodes import ClusterNodes
from rollout.store.connection import connect
from rollout.store.sharded.sharded_claims import ShardedClaims
from rollout.store.sharded.sharded_episodes import ShardedEpisodes
from rollout.store.sharded.sharded_finding import ShardedFinding
from rollout.store.sharded.sharded_inspection import ShardedInspection
from rollout.store.sharded.sharded_project import ShardedProject
from rollout.store.sharded.shards import Shards
from rollout.store.sharded.whereabouts import Whereabouts
from rollout.store.store import CALL_SECONDS, Store, check_shards, recorded_shards
from rollout.store.transitions import Timings


class ShardedStore(
    ShardedEpisodes, ShardedFinding, ShardedClaims, ShardedProject, ShardedInspection
):
    """What it inherits from `Store` runs in shard 0, whose prefix is that of a store with one shard."""

    def __init__(
        self,
        nodes: ClusterNodes,
        *,
        project: str,
        timings: Timings,
        clock: Callable[[], float],
        num_shards: int,
    ) -> None:
        super().__init__(nodes, project=project, timings=timings, clock=clock)
        whereabouts = Whereabouts(seconds=timings.retention, clock=clock)
        stores = [self.shard(number) for number in range(num_shards)]
        self._shards = Shards(stores, whereabouts, prepare=self.prepare)

    def of(self, project: str) -> Store:
        return ShardedStore(
            self._nodes,
            project=project,
            timings=self._timings,
            clock=self._clock,
            num_shards=len(self.shards),
        )

    @property
    def shards(self) -> Sequence[Store]:
        return self._shards.stores

    @property
    def num_set_aside(self) -> int:
        return super().num_set_aside + sum(shard.num_set_aside for shard in self.shards)

    async def prepare(self) -> None:
        await self._shards.each(lambda shard: shard.prepare_shard())
        await check_shards(self)

    async def ping(self) -> None:
        await self._shards.each(lambda shard: shard.ping())

    async def weaknesses(self) -> list[str]:
        """Of every node that has a shard, each once."""
        found = await self._shards.each(lambda shard: shard.weaknesses())
        return list(dict.fromkeys(weakness for own in found for weakness in own))

    async def wait_ready(self, timeout_seconds: float) -> bool:
        """In any shard. A signal that another shard gives at the same time is not needed: the trainer claims from all."""
        waits = [asyncio.ensure_future(s.wait_ready(timeout_seconds)) for s in self.shards]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return any([await each for each in done])
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def open_store(
    url: str,
    *,
    project: str = "default",
    timings: Timings | None = None,
    clock: Callable[[], float] = time.time,
    call_seconds: float = CALL_SECONDS,
    num_shards: int = 1,
) -> Store:
    """The store of a project in so many shards; as `Store.connect`."""
    timings = timings or Timings()
    if num_shards == 1:
        return Store.connect(
            url, project=project, timings=timings, clock=clock, call_seconds=call_seconds
        )
    nodes = ClusterNodes(connect(url), deadline_seconds=call_seconds)
    return ShardedStore(nodes, project=project, timings=timings, clock=clock, num_shards=num_shards)


async def open_recorded(url: str, *, project: str, call_seconds: float) -> Store:
    """The store of a project in as many shards as Redis says that it has."""
    first = Store.connect(url, project=project, call_seconds=call_seconds)
    try:
        num_shards = await recorded_shards(first)
    finally:
        await first.close()
    return open_store(url, project=project, call_seconds=call_seconds, num_shards=num_shards)
