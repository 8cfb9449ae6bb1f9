"""Garbage of every Redis type, and of several contents, in every key: nothing fails, and everything else trains."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from redis.asyncio import Redis

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec, HistoryPolicy
from rollout.episode.reward import Reward
from rollout.errors import ClaimLost, EpisodeSealed, EpisodeSettled, NoSuchEpisode
from rollout.ledger.ledger import Ledger
from rollout.settler import settle
from rollout.store.store import Store
from tests.profiles import per_profile
from tests.rollout.clock import Clock
from tests.rollout.play import claim, commit, own_group, play, policy
from tests.rollout.turns import output, turn

BAD = b"\xc1garbage\xff"
Command: TypeAlias = tuple[str | bytes | int, ...]
Garbage: TypeAlias = Callable[[bytes, bytes, list[bytes]], list[Command]]


def of_type(kind: str) -> Garbage:
    """Replaces a key of another type."""
    writes: Mapping[str, Command] = {
        "string": ("SET", b"", BAD),
        "list": ("RPUSH", b"", BAD),
        "set": ("SADD", b"", BAD),
        "zset": ("ZADD", b"", 1, BAD),
        "hash": ("HSET", b"", BAD, BAD),
        "stream": ("XADD", b"", "*", BAD, BAD),
    }

    def commands(name: bytes, _kind: bytes, _fields: list[bytes]) -> list[Command]:
        command, _, *rest = writes[kind]
        return [("DEL", name), (command, name, *rest)]

    return commands


def same_type(name: bytes, kind: bytes, fields: list[bytes]) -> list[Command]:
    """Keeps the type, and replaces the content."""
    return of_type(kind.decode())(name, kind, fields)


def every_field(name: bytes, kind: bytes, fields: list[bytes]) -> list[Command]:
    """Keeps the fields of a hash, and replaces their values; adds an element to what is no hash."""
    if kind == b"hash":
        return [("HSET", name, *(item for field in fields for item in (field, BAD)))]
    appends: Mapping[bytes, Command] = {
        b"string": ("APPEND", name, BAD),
        b"list": ("RPUSH", name, BAD),
        b"set": ("SADD", name, BAD),
        b"zset": ("ZADD", name, 1, BAD),
    }
    return [appends[kind]]


def numbers_that_are_none(name: bytes, kind: bytes, fields: list[bytes]) -> list[Command]:
    """Text where numbers belong, `inf` and `nan`."""
    if kind == b"hash":
        return [("HSET", name, *(item for field in fields for item in (field, "nan")))]
    if kind == b"zset":
        return [("ZADD", name, "inf", member) for member in fields]
    return [("DEL", name), *same_type(name, kind, fields)]


GARBAGE: Mapping[str, Garbage] = {
    **{kind: of_type(kind) for kind in ("string", "list", "set", "zset", "hash", "stream")},
    "same type": same_type,
    "every field": every_field,
    "no numbers": numbers_that_are_none,
}


class Place:
    """A project with episodes in every state, and what a gateway, a settler and a trainer do with it."""

    def __init__(self, store: Store, ledger: Ledger, clock: Clock, redis: Redis) -> None:
        self.store, self.ledger, self.clock, self.redis = store, ledger, clock, redis
        self.prefix = f"turngate:{{{store.project}}}:".encode()

    async def fill(self) -> None:
        store = self.store
        await store.prepare()
        await store.set_training({"step_seconds": 3, "max_live_episodes": 100})
        await store.weigh_rewards({"style": 0.5})
        await store.set_history(HistoryPolicy.VERBATIM)
        await store.record_policy(policy(1))
        await store.pin(policy(1))
        await play(store, "trained")
        await store.ack("ann", [c.group_id for c in await claim(store, "ann")], policy(2))
        await play(store, "claimed")
        await claim(store, "ann")
        await play(store, "bystander")
        for name in ("left", "right"):
            await play(store, name, group="pair", size=2)
        await play(store, "waiting", group="half", size=2)
        await store.open(EpisodeSpec("empty"))
        await store.seal("empty")
        await store.begin(EpisodeSpec("open"), since=0, attempt=Attempt("a", "key:k", "digest"))
        await commit(store, "open", turn("open turn", [1], output([2], version=1)))
        await store.withdraw("open", Attempt("b"))

    async def keys(self) -> list[bytes]:
        return sorted([key async for key in self.redis.scan_iter(self.prefix + b"*")])

    async def corrupt(self, name: bytes, garbage: Garbage) -> None:
        kind = await self.redis.type(name)
        fields: list[bytes] = []
        if kind == b"hash":
            fields = await self.redis.hkeys(name)
        if kind == b"zset":
            fields = await self.redis.zrange(name, 0, -1)
        for command in garbage(name, kind, fields):
            await self.redis.execute_command(*command)

    async def look(self) -> None:
        """What a gateway shows, and what it reads for a scrape."""
        store = self.store
        await store.totals()
        await store.training()
        await store.policy()
        await store.recorded_policy()
        await store.history()
        await store.pinned()
        listed, _ = await store.episodes(limit=100)
        for episode in listed:
            await store.episode(episode.header.id)
            await store.group(episode.header.group_id)
            await store.turns(episode.header.id)
            await store.reward_history(episode.header.id)

    async def agents(self) -> None:
        """The next calls of agents; an episode that was damaged refuses them."""
        for name in ("open", "waiting"):
            try:
                await self.store.begin(EpisodeSpec(name), since=0)
                await commit(self.store, name, turn(f"{name} 2", [1], output([2], version=1)))
            except (EpisodeSealed, EpisodeSettled, NoSuchEpisode):
                pass
        for name in ("open", "left"):
            with suppress(EpisodeSettled, NoSuchEpisode):
                await self.store.reward(name, Reward(1.0, "style"), complete=True)
        await play(self.store, "new")

    async def settle(self) -> None:
        """A round of the settler."""
        await self.store.sweep()
        await settle(self.store, self.ledger)
        await self.store.repair()

    async def train(self) -> set[str]:
        """What a trainer claims and acknowledges."""
        trained: set[str] = set()
        while claims := await claim(self.store, "bob", version=2, staleness=5):
            version = await self.store.next_version()
            await self.store.ack("bob", [each.group_id for each in claims], policy(version))
            trained |= {view.header.id for each in claims for view in each.episodes}
        try:
            await self.store.ack(
                "ann", [own_group("claimed")], policy(await self.store.next_version())
            )
            trained.add("claimed")
        except ClaimLost:
            pass
        await self.store.checkpointed(1)
        return trained

    async def run(self) -> set[str]:
        await self.look()
        await self.agents()
        await self.settle()
        trained = await self.train()
        self.clock.advance(700)
        await self.settle()
        await self.look()
        trained |= await self.train()
        await self.settle()
        return trained


@asynccontextmanager
async def a_place(redis_url: str, ledger: Ledger) -> AsyncIterator[Place]:
    clock = Clock()
    store = Store.connect(redis_url, project=uuid.uuid4().hex, clock=clock)
    async with Redis.from_url(redis_url) as redis:
        place = Place(store, ledger, clock, redis)
        await place.fill()
        yield place
    await store.close()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    await ledger.close()


@pytest.fixture
async def names(redis_url: str, ledger: Ledger) -> list[str]:
    """Every key of a project with episodes in every state."""
    async with a_place(redis_url, ledger) as place:
        return [key.removeprefix(place.prefix).decode() for key in await place.keys()]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_in_any_key_hinders_nothing_else(
    redis_url: str, ledger: Ledger, names: list[str], garbage: str
) -> None:
    """Agents, settler and trainer go on; what the damaged record does not belong to trains; the totals add up."""
    turn_of = list(GARBAGE).index(garbage)
    for name in per_profile(ci=names[turn_of :: 2 * len(GARBAGE)], nightly=names):
        async with a_place(redis_url, ledger) as place:
            await place.corrupt(place.prefix + name.encode(), GARBAGE[garbage])
            try:
                trained = await place.run()
                totals = await place.store.totals()
                _, _, damaged = name.partition(":")
                others = {"bystander", "left", "right", "new"} - {damaged}
                assert trained >= others, f"{others - trained} not trained"
                ended = sum(totals.dispositions.values())
                assert totals.opened == ended + sum(totals.live.values()), totals
                assert totals.opened == 9, totals
                assert await place.store.repair() == 0
            except Exception as error:
                raise AssertionError(f"{garbage} in {name}: {error!r}") from error
