"""What belongs to the whole project. Policies, versions and locks are in shard 0, whose transitions a sharded store inherits.

What the scripts of every shard read is in every shard: the training state, the weights of rewards and the history policy. Shard 0 has it
last: what it says is in force everywhere, also if the process dies between.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import reduce

import msgspec

from rollout.episode.episode_records import HistoryPolicy, SettledEpisode
from rollout.errors import DamagedEpisode, DamagedRecord
from rollout.store.limit_transitions import (
    LEASE_SECONDS,
    WINDOW_SECONDS,
    CallLimits,
    StartedCall,
)
from rollout.store.repair_transitions import SLICE_ENTRIES
from rollout.store.sharded.admission_shares import LIMITS, shares_of
from rollout.store.sharded.shards import Shards
from rollout.store.store import Store
from rollout.store.totals import Places, Totals, added


class ShardedProject(Store):
    _shards: Shards

    async def set_aside(self, damaged: DamagedRecord) -> None:
        place = self._shards.first
        if isinstance(damaged, DamagedEpisode):
            place = await self._shards.place_of(damaged.episode_id)
        await place.set_aside(damaged)

    async def training(self) -> dict[str, str]:
        state = await self._shards.first.training()
        for share, whole in LIMITS.items():
            if whole in state:
                state[share] = state.pop(whole)
        return state

    async def set_training(self, state: Mapping[str, str | int | float]) -> None:
        """The limits of admission are divided (`admission_shares.py`)."""
        first, *others = shares_of(state, len(self._shards.stores))
        shards = self._shards.stores[1:]
        await asyncio.gather(*(s.set_training(o) for s, o in zip(shards, others, strict=True)))
        await self._shards.first.set_training(first)

    async def pause_training(self) -> None:
        await self._shards.first_last(lambda shard: shard.pause_training())

    async def resume_training(self) -> None:
        await self._shards.first_last(lambda shard: shard.resume_training())

    async def weigh_rewards(self, weights: Mapping[str, float]) -> None:
        await self._shards.first_last(lambda shard: shard.weigh_rewards(weights))

    async def set_history(self, policy: HistoryPolicy) -> None:
        await self._shards.first_last(lambda shard: shard.set_history(policy))

    async def totals(self) -> Totals:
        """Those of each shard are read at one moment; between two shards something may change."""
        totals = reduce(added, await self._shards.each(lambda shard: shard.totals()))
        state = await self.training()
        limits = [int(state.get(name) or 0) for name in LIMITS]
        return msgspec.structs.replace(totals, places=Places(totals.places.by_holder, *limits))

    async def sweep(self) -> float | None:
        due = await self._shards.each(lambda shard: shard.sweep())
        return min((at for at in due if at is not None), default=None)

    async def raise_counters(self, sequence: int, *, version: int) -> None:
        """A shard may be behind the others without a loss; the ledger's latest sequence is of any of them."""
        latest = await self._shards.latest_settlement()
        if latest < sequence:
            await self._shards.each(lambda shard: shard.raise_counters(sequence, version=0))
        await self._shards.each(lambda shard: shard.transition("lift", max(latest, sequence)))
        await self._shards.first.raise_counters(0, version=version)

    async def forget_trained(self, episode_ids: Sequence[str]) -> int:
        return sum(await self._shards.each(lambda shard: shard.forget_trained(episode_ids)))

    async def settled(self, limit: int = 100) -> list[SettledEpisode]:
        found = await self._shards.each(lambda shard: shard.settled(limit))
        return [episode for settled in found for episode in settled][:limit]

    async def settle_done(self, episodes: Sequence[SettledEpisode]) -> None:
        await self._shards.each(lambda shard: shard.settle_done(episodes))

    async def repair(self, *, slice_entries: int = SLICE_ENTRIES) -> int:
        found = await self._shards.each(lambda shard: shard.repair(slice_entries=slice_entries))
        return sum(found)

    async def start_call(
        self, limits: CallLimits, call_id: str, *, lease_seconds: float = LEASE_SECONDS
    ) -> StartedCall:
        keeper = self._shards.of(limits.key_id)
        return await keeper.start_call(limits, call_id, lease_seconds=lease_seconds)

    async def end_call(
        self, limits: CallLimits, call_id: str, *, started: StartedCall, tokens: int
    ) -> None:
        keeper = self._shards.of(limits.key_id)
        await keeper.end_call(limits, call_id, started=started, tokens=tokens)

    async def renew_calls(
        self, calls: Sequence[tuple[str, str]], *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        for keeper in self._shards.stores:
            own = [call for call in calls if self._shards.of(call[0]) is keeper]
            if own:
                await keeper.renew_calls(own, lease_seconds=lease_seconds)

    async def use(
        self, kind: str, key_id: str, *, limit: int, window_seconds: float = WINDOW_SECONDS
    ) -> float:
        keeper = self._shards.of(key_id)
        return await keeper.use(kind, key_id, limit=limit, window_seconds=window_seconds)
