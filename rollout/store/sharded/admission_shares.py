"""The places of admission of a project, divided among its shards.

Each shard admits up to its share without asking the others. When one refuses, the free places of the whole project are moved to it,
so that no place stays free in another shard while callers wait. Calls that open at the same moment may go over the limit by what
they open within it.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from rollout.store.store import Store

LOCK_SECONDS = 2.0
# The limits as they were set; the names without `whole_` are the share of a shard.
LIMITS = {
    "max_live_episodes": "whole_live_episodes",
    "max_live_episodes_per_key": "whole_live_episodes_per_key",
}
NO_PLACE = -1  # 0 is no limit

State = Mapping[str, str | int | float]


def shares_of(state: State, num_shards: int) -> list[State]:
    """The training state of each shard: equal shares, the first ones larger by one if that is needed."""
    return [
        {
            **state,
            **{whole: state[name] for name, whole in LIMITS.items() if name in state},
            **{name: share(int(state[name]), n, num_shards) for name in LIMITS if name in state},
        }
        for n in range(num_shards)
    ]


def share(limit: int, number: int, num_shards: int) -> int:
    if limit == 0:
        return 0
    return (limit + num_shards - 1 - number) // num_shards or NO_PLACE


class AdmissionShares:
    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = stores

    async def move_to(self, refused: Store, *, key_id: str) -> bool:
        """Give the places that are free anywhere to the shard that refused; False if there are none, or another caller does so."""
        async with self._stores[0].lock("admission", lease_seconds=LOCK_SECONDS) as is_free:
            return is_free and await self._move(refused, key_id)

    async def _move(self, refused: Store, key_id: str) -> bool:
        counts = {
            store: cast("list[int]", await store.transition("admission", key_id))
            for store in self._stores
        }
        limit, per_key = counts[refused][3:]
        free = limit - sum(reserved for reserved, *_ in counts.values())
        free_of_key = (per_key or limit) - sum(held for _, held, *_ in counts.values())
        if limit == 0 or free <= 0 or free_of_key <= 0:
            return False
        # The shard that gets them is written last: at no time is there more than the limit.
        for store, (reserved, _, most, *_) in counts.items():
            if store is not refused:
                await _set(store, reserved, most)
        reserved, held, most, *_ = counts[refused]
        await _set(refused, reserved + free, max(held + free_of_key, most))
        return True


async def _set(store: Store, limit: int, per_key: int) -> None:
    shares = {
        "max_live_episodes": limit or NO_PLACE,
        "max_live_episodes_per_key": per_key or NO_PLACE,
    }
    await store.set_training(shares)
