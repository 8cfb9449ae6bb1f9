"""Tells every gateway that keys or projects changed in the ledger: a counter, and a signal to read it again.

key                               type     meaning                                     deleted by
turngate:{_access}:revision       string   how often keys and projects were changed    never
turngate:{_access}:signal         channel  the counter has grown                       -

No project's name begins with an underscore, so its keys are not these. A signal may be lost, so a follower reads the counter
after each signal, each half second and each reconnection. What it knows is as old as `age_seconds`.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import cast

from redis.exceptions import ResponseError

from rollout.errors import StoreUnavailable
from rollout.store.cluster_nodes import ClusterNodes, SlotNode
from rollout.store.refusals import why_unavailable
from rollout.store.signals import Signals

PREFIX = "turngate:{_access}:"
READ_SECONDS = 0.5
UNKNOWN = -1


class KeyChanges:
    """How often keys were changed, as this process last read it."""

    def __init__(self, nodes: ClusterNodes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = SlotNode(nodes)
        self._clock = clock
        self._read_at = -math.inf
        self._is_owed = False  # a change that Redis has not heard of
        self.revision = UNKNOWN

    @property
    def age_seconds(self) -> float:
        """How long ago the revision was the latest."""
        return self._clock() - self._read_at

    async def announce(self) -> None:
        """Make every gateway read keys and projects again. While Redis is away, `follow` owes it the change."""
        self._is_owed, self.revision = True, UNKNOWN
        try:
            await self._read()
        except StoreUnavailable:
            return

    async def follow(self) -> None:
        """Keep the revision up to date until cancelled."""
        while True:
            node = self._node.batcher  # a cluster passes a signal on to all its nodes
            try:
                async with Signals(node.redis, PREFIX).subscribe() as changes:
                    while True:
                        await self._read()
                        await changes.wait(READ_SECONDS)
            except StoreUnavailable:
                self._node.forget(node)
                await asyncio.sleep(READ_SECONDS)

    async def _read(self) -> None:
        asked_at = self._clock()
        try:
            self.revision = await (self._increment() if self._is_owed else self._get())
        except (ResponseError, ValueError) as error:
            why = why_unavailable(error) or f"{PREFIX}revision is not a number: {error}"
            raise StoreUnavailable(why) from error
        self._read_at = asked_at

    async def _get(self) -> int:
        reply = await self._node.call("GET", PREFIX + "revision")
        return int(cast("bytes | None", reply) or 0)

    async def _increment(self) -> int:
        self._is_owed = False  # so that no other task counts the same change
        try:
            reply = await self._node.call("INCR", PREFIX + "revision")
        except BaseException:
            self._is_owed = True
            raise
        await self._node.call("PUBLISH", PREFIX + "signal", "keys")
        return cast("int", reply)
