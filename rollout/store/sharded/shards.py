"""The shards of a project, and how a call reaches the one that has its episode."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple, Self, TypeVar, cast

from rollout.episode.episode_records import EpisodeSpec
from rollout.errors import Backlogged, NoSuchEpisode, TooManyOpenEpisodes
from rollout.store.sharded.admission_shares import AdmissionShares
from rollout.store.sharded.placement import shard_of, shard_of_episode
from rollout.store.sharded.whereabouts import Whereabouts
from rollout.store.store import Store

Answer = TypeVar("Answer")
# A caller is told to wait so long while another one opens the same id in another group.
OPENING_SECONDS = 1.0


class Look(NamedTuple):
    """What a shard knows of an episode, and what its opening must know of every shard."""

    status: str  # "" if the shard does not have the episode
    key_id: str
    latest_settlement: int  # sequence of its outbox
    num_open: int  # open episodes of the key that was asked for

    @classmethod
    def parse(cls, reply: object) -> Self:
        status, key_id, latest, num_open = cast(
            "tuple[bytes | None, bytes | None, bytes, int]", reply
        )
        return cls((status or b"").decode(), (key_id or b"").decode(), int(latest), num_open)


class Shards:
    """A store for each shard; the first one has also what belongs to the whole project."""

    def __init__(
        self,
        stores: Sequence[Store],
        whereabouts: Whereabouts,
        *,
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self.stores = stores
        self.first = stores[0]
        self._whereabouts = whereabouts
        self._shares = AdmissionShares(stores)
        self._prepare = prepare
        self._is_prepared = False

    def of(self, name: str) -> Store:
        """The shard of a group, a key, a label or a session."""
        return self.stores[shard_of(name, len(self.stores))]

    def split(self, names: Iterable[str]) -> list[tuple[Store, list[str]]]:
        """Names of groups by their shard."""
        by_shard: dict[int, list[str]] = {}
        for name in names:
            by_shard.setdefault(shard_of(name, len(self.stores)), []).append(name)
        return [(self.stores[number], found) for number, found in sorted(by_shard.items())]

    async def each(self, ask: Callable[[Store], Awaitable[Answer]]) -> list[Answer]:
        """Ask all at once; the answers are in the order of the shards."""
        return list(await asyncio.gather(*map(ask, self.stores)))

    async def first_last(self, change: Callable[[Store], Awaitable[Answer]]) -> Answer:
        """Change all, the first one last: what it says is in force everywhere, also if the process dies between."""
        await asyncio.gather(*map(change, self.stores[1:]))
        return await change(self.first)

    async def at(self, episode_id: str, call: Callable[[Store], Awaitable[Answer]]) -> Answer:
        """Call the shard of an episode; every shard is asked only for one that is not where its id says."""
        number = self._whereabouts.get(episode_id)
        store = self._home(episode_id) if number is None else self.stores[number]
        try:
            answer = await call(store)
            if answer is not None:
                return answer
        except NoSuchEpisode:
            found = await self.find(episode_id)
            if found is None or found is store:
                raise
        else:
            found = await self.find(episode_id)
            if found is None or found is store:
                return answer
        return await call(found)

    async def find(self, episode_id: str) -> Store | None:
        """The shard that has the episode's header, by asking all."""
        number = self._whereabouts.get(episode_id)
        if number is not None:
            return self.stores[number]
        looks = await self._look(episode_id)
        return next((s for s, look in zip(self.stores, looks, strict=True) if look.status), None)

    async def place_of(self, episode_id: str) -> Store:
        """The shard that has the episode, else the one in which it would be if it named no group."""
        return await self.find(episode_id) or self._home(episode_id)

    async def state(self, episode_id: str) -> tuple[str, str] | None:
        """Status and API key of an episode, read now."""
        looks = await self._look(episode_id)
        return next(((look.status, look.key_id) for look in looks if look.status), None)

    async def opening(
        self, spec: EpisodeSpec, call: Callable[[Store], Awaitable[Answer]]
    ) -> Answer:
        """A call that opens the episode if there is none, in the shard that has it or will have it."""
        number = self._whereabouts.get(spec.id)
        store = await self._opened_in(spec) if number is None else self.stores[number]
        try:
            answer = await call(store)
        except Backlogged:
            if not await self._shares.move_to(store, key_id=spec.key_id):
                raise
            answer = await call(store)
        self._whereabouts.open_in(spec.id, self.stores.index(store))
        return answer

    async def _opened_in(self, spec: EpisodeSpec) -> Store:
        """Of two callers that open one id in two groups, the first decides the shard, and the second one waits or joins."""
        if not self._is_prepared:  # a project may be made after the process started
            await self._prepare()
            self._is_prepared = True
        wanted = self._wanted(spec)
        claimed = wanted
        if spec.is_named:
            home, number = self._home(spec.id), self.stores.index(wanted)
            reply = await home.transition("claim_opening", spec.id, number)
            claimed = self.stores[int(reply)] if isinstance(reply, bytes) else wanted
        looks = await self._look(spec.id, spec.key_id if spec.max_open_episodes else "")
        for store, look in zip(self.stores, looks, strict=True):
            if look.status:
                return store
        if 0 < spec.max_open_episodes <= sum(look.num_open for look in looks):
            raise TooManyOpenEpisodes(str(spec.max_open_episodes))
        if claimed is not wanted:
            raise Backlogged(OPENING_SECONDS, "opening")
        if spec.is_named:
            latest = max(look.latest_settlement for look in looks)
            if looks[self.stores.index(wanted)].latest_settlement < latest:
                await wanted.transition("lift", latest)
        return wanted

    def _wanted(self, spec: EpisodeSpec) -> Store:
        if spec.group_id and spec.kind != "side":
            return self.of(spec.group_id)
        return self._home(spec.id)

    def _home(self, episode_id: str) -> Store:
        return self.stores[shard_of_episode(episode_id, len(self.stores))]

    async def latest_settlement(self) -> int:
        """The latest sequence that any shard gave out."""
        return max(look.latest_settlement for look in await self._look(""))

    async def _look(self, episode_id: str, key_id: str = "") -> list[Look]:
        replies = await self.each(lambda store: store.transition("look", episode_id, key_id))
        return [Look.parse(reply) for reply in replies]
