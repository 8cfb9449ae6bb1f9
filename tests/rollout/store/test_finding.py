"""Which episode the store finds for a call that names none: an open one of its own key, the same for everybody who asks."""

import asyncio
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from rollout.audit.keyspace import KeyNames
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.turn import encode_turn
from rollout.store.finding_transitions import Clues
from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.redis_server import KillableRedis
from tests.rollout.clock import Clock
from tests.rollout.turns import turn

WORDS = (("with", "without"),)


@pytest.fixture
def server() -> Iterator[KillableRedis]:
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as directory:
        server = KillableRedis(Path(directory))
        yield server
        server.kill()


async def said(store: Store, episode: str, *, key_id: str = "k") -> str:
    """A turn in the episode, after which WORDS were said; gives the turn's id."""
    made = turn(f"turn_{uuid.uuid4().hex[:24]}")
    await store.begin(EpisodeSpec(episode, key_id=key_id, is_named=False), since=0)
    words = (key_id, *WORDS[0])
    await store.commit(episode, made, encoded=encode_turn(made), said=words)
    return made.id


async def test_the_surest_clue_decides(store: Store) -> None:
    """A turn comes before a session, a session before words, words before a cache key; without any the call opens its own."""
    turns = await said(store, "by turn")
    await store.find(Clues("k", session="s"), otherwise="by session")
    await store.find(Clues("k", cache_key="c"), otherwise="by cache key")
    await said(store, "by words")
    every = {"turns": (turns,), "session": "s", "words": WORDS, "cache_key": "c"}
    expected = [("by turn", "turn"), ("by session", "session"), ("by words", "words")]
    for found, clue in zip(expected, list(every), strict=False):
        assert await store.find(Clues("k", **every), otherwise="new") == found
        del every[clue]
    assert await store.find(Clues("k", **every), otherwise="new") != ("new", "new")
    assert await store.find(Clues("other", **every), otherwise="new") == ("new", "new")


async def test_calls_at_the_same_time_get_one_episode(store: Store) -> None:
    """The first calls of a session open one episode, although none of them has begun yet."""
    clues = Clues("k", session="s")
    found = await asyncio.gather(*(store.find(clues, otherwise=f"ep_{n}") for n in range(8)))
    assert len({episode for episode, _ in found}) == 1
    assert [how for _, how in found].count("new") == 1


async def test_a_repeat_goes_where_its_first_try_went(store: Store) -> None:
    """Of two conversations that read the same each call gets its own; a repeat gets the one that was taken last."""
    for name in ("ep_1", "ep_2"):
        await said(store, name)
    first, _ = await store.find(Clues("k", words=WORDS), otherwise="new")
    again, _ = await store.find(Clues("k", words=WORDS, is_repeat=True), otherwise="new")
    second, _ = await store.find(Clues("k", words=WORDS), otherwise="new")
    assert again == first
    assert {first, second} == {"ep_1", "ep_2"}


async def test_what_has_ended_is_not_found(store: Store, clock: Clock) -> None:
    """A sealed episode, and one that nobody called for as long as an episode stays open."""
    turns = await said(store, "ep_1")
    every = Clues("k", turns=(turns,), words=WORDS)
    await store.seal("ep_1")
    assert await store.find(every, otherwise="new") == ("new", "new")
    await said(store, "ep_2")
    clock.now += 1801
    await store.sweep()
    assert await store.find(Clues("k", words=WORDS), otherwise="new") == ("new", "new")


async def test_a_forgotten_episode_is_not_opened_again(redis_url: str, clock: Clock) -> None:
    """Its session, or cache key, leads to a new one as soon as it is forgotten, however early that is."""
    timings = Timings(retention=1.0)
    store = Store.connect(redis_url, project=uuid.uuid4().hex, timings=timings, clock=clock)
    for number, clues in enumerate((Clues("k", session="s"), Clues("k", cache_key="c"))):
        id_, _ = await store.find(clues, otherwise=f"ep_{number}")
        await said(store, id_)
        await store.delete(id_)
        await store.settle_done(await store.settled())
        clock.advance(2.0)
        await store.sweep()
        assert await store.find(clues, otherwise=f"next_{number}") == (f"next_{number}", "new")
    await store.close()


async def test_a_restart_of_redis_forgets_nothing(server: KillableRedis) -> None:
    """After SIGKILL the same episodes are found."""
    store = Store.connect(server.url)
    await said(store, "ep_1")
    await store.find(Clues("k", session="s"), otherwise="ep_2")
    server.kill()
    server.start()
    later = Store.connect(server.url)
    assert await later.find(Clues("k", words=WORDS), otherwise="new") == ("ep_1", "words")
    assert await later.find(Clues("k", session="s"), otherwise="new") == ("ep_2", "session")
    await store.close()
    await later.close()


async def test_what_is_kept_is_bounded_and_expires(store: Store, redis_url: str) -> None:
    """At most 64 episodes are kept for the same words, every key expires, and an audit knows them all."""
    for number in range(70):
        await said(store, f"ep_{number}")
    await store.find(Clues("k", session="s", cache_key="c"), otherwise="ep_0")
    with redis.Redis.from_url(redis_url) as client:
        prefix = f"turngate:{{{store.project}}}:found."
        keys = list(client.scan_iter(f"{prefix}*"))
        assert len(keys) == 4
        assert all(0 < client.pttl(key) <= 3_600_000 for key in keys)
        assert client.zcard(f"{prefix}words:k:with") == 64
    names = KeyNames()
    async for some in store.key_names():
        names.add(some)
    assert names.offenders() == []


async def test_a_damaged_clue_is_moved_aside(store: Store, redis_url: str) -> None:
    """A key of another type under a label or under words ends no call."""
    await said(store, "ep_1")
    with redis.Redis.from_url(redis_url) as client:
        prefix = f"turngate:{{{store.project}}}:found."
        client.delete(f"{prefix}words:k:with")
        client.set(f"{prefix}words:k:with", "?")
        client.rpush(f"{prefix}label:k:s", "?")
    assert await store.find(Clues("k", session="s"), otherwise="new") == ("new", "new")
    assert await store.find(Clues("k", words=WORDS), otherwise="other") == ("ep_1", "words")
