"""What an audit reads, of all shards. Counts of one shard are read at one moment, those of two are not."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from rollout.store.inspection import CountInspection, EpisodeInspection, GroupInspection
from rollout.store.sharded.shards import Shards
from rollout.store.store import Store

Inspected = TypeVar("Inspected", EpisodeInspection, GroupInspection)


class ShardedInspection(Store):
    _shards: Shards

    async def inspect_episodes(self, ids: Sequence[str]) -> list[EpisodeInspection]:
        found = await self._shards.each(lambda shard: shard.inspect_episodes(ids))
        return [_there(own) for own in zip(*found, strict=True)]

    async def inspect_groups(self, ids: Sequence[str]) -> list[GroupInspection]:
        found = await self._shards.each(lambda shard: shard.inspect_groups(ids))
        return [_there(own) for own in zip(*found, strict=True)]

    async def inspect_index(self, name: str) -> AsyncIterator[list[str]]:
        for shard in self._shards.stores:
            async for ids in shard.inspect_index(name):
                yield ids

    async def key_names(self) -> AsyncIterator[list[str]]:
        for shard in self._shards.stores:
            async for names in shard.key_names():
                yield names

    async def inspect_counts(self) -> CountInspection:
        found = await self._shards.each(lambda shard: shard.inspect_counts())
        numbers: dict[str, float] = {}
        counted: Counter[str] = Counter()
        places: Counter[str] = Counter()
        holders: Counter[str] = Counter()
        for each in found:
            for name, text in each.totals.items():
                known = numbers.get(name, 0.0)
                numbers[name] = (
                    max(known, float(text)) if name == "restored" else known + float(text)
                )
            counted.update(each.counted)
            places.update(each.places)
            holders.update({name: int(text) for name, text in each.holders.items()})
        return CountInspection(
            {name: f"{number:.17g}" for name, number in numbers.items()},
            counted,
            found[0].version,
            found[0].weights,
            {name: str(number) for name, number in holders.items()},
            places,
        )


def _there(found: Sequence[Inspected]) -> Inspected:
    """The one of the shard that has it."""
    return next((each for each in found if not each.is_gone), found[0])
