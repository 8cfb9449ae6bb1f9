"""What happens to the store when Redis dies, stays away, comes back or hangs."""

import asyncio
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import ResponseError

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import EpisodeStatus
from rollout.episode.reward import Reward
from rollout.errors import StoreUnavailable
from rollout.store.lua_scripts import translate
from rollout.store.store import Store
from tests.redis_server import KillableRedis
from tests.rollout.play import claim, commit, play, policy
from tests.rollout.turns import output, turn


@pytest.fixture
def server() -> Iterator[KillableRedis]:
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as directory:
        server = KillableRedis(Path(directory))
        yield server
        server.process.send_signal(signal.SIGCONT)
        server.kill()


async def test_killing_redis_loses_nothing_that_was_acknowledged(server: KillableRedis) -> None:
    """Turns, rewards, claims and policies are there after kill -9 and a restart, without reconnecting by hand."""
    store = Store.connect(server.url)
    await play(store, "ep_done")
    claims = await claim(store)
    await store.ack("trainer", [claims[0].group_id], policy(2))
    await store.open(EpisodeSpec("ep_1"))
    acknowledged: list[str] = []
    busy = asyncio.Event()

    async def keep_committing(worker: int) -> None:
        for n in range(1000):
            made = turn(f"t{worker}-{n}", [worker, n], output([n]))
            await commit(store, "ep_1", made)
            acknowledged.append(made.id)
            if len(acknowledged) == 200:
                busy.set()

    workers = [asyncio.create_task(keep_committing(worker)) for worker in range(8)]
    await asyncio.wait_for(busy.wait(), 20)
    server.kill()
    outcomes = await asyncio.gather(*workers, return_exceptions=True)
    server.start()

    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    kept = {t.id for t in await store.turns("ep_1")}
    assert kept >= set(acknowledged)
    assert (await store.episode("ep_1")).header.num_turns == len(kept)
    assert await store.policy() == policy(2)
    assert (await store.episode("ep_done")).header.status is EpisodeStatus.TRAINED
    await store.close()


async def test_an_unacknowledged_commit_may_be_repeated(server: KillableRedis) -> None:
    """A call that is repeated after a broken connection has its effect once."""
    store = Store.connect(server.url)
    await store.open(EpisodeSpec("ep_1"))
    made = turn("t", [1], output([2]))
    await commit(store, "ep_1", made)
    server.kill()
    with pytest.raises(StoreUnavailable, match="check Redis and retry"):
        await commit(store, "ep_1", made)
    server.start()

    assert await commit(store, "ep_1", made) == 0
    assert len(await store.turns("ep_1")) == 1
    await store.close()


async def test_after_a_restart_a_script_is_sent_once(server: KillableRedis) -> None:
    """Of many calls that wait for the same script, one sends it: its text is large, and Redis reads it alone."""
    store = Store.connect(server.url)
    await store.ping()
    server.kill()
    server.start()

    await asyncio.gather(*(store.open(EpisodeSpec(f"ep_{n}")) for n in range(200)))

    with redis.Redis.from_url(server.url) as client:
        stats = client.info("commandstats")
    names = ("cmdstat_eval", "cmdstat_script", "cmdstat_script|load")
    assert sum(stats[name]["calls"] for name in names if name in stats) == 1
    await store.close()


async def test_every_call_says_that_the_store_is_unavailable(server: KillableRedis) -> None:
    """Reading, writing, waiting and subscribing all fail the same way, and work again later."""
    store = Store.connect(server.url)
    server.kill()

    for call in (
        store.ping(),
        store.open(EpisodeSpec("ep_1")),
        store.reward("ep_1", Reward(1.0)),
        claim(store),
        store.totals(),
        store.wait_ready(5),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    with pytest.raises(StoreUnavailable):
        async with store.signals():
            pass
    server.start()
    await play(store, "ep_1")
    assert len(await claim(store)) == 1
    await store.close()


async def test_a_store_may_be_made_before_redis_is_there(server: KillableRedis) -> None:
    """Nothing is connected until the first call."""
    server.kill()
    store = Store.connect(server.url)
    with pytest.raises(StoreUnavailable):
        await store.ping()

    server.start()
    await store.ping()

    assert (await store.totals()).opened == 0
    await store.close()


async def test_a_redis_that_hangs_does_not_hang_the_caller(server: KillableRedis) -> None:
    """Every call has a deadline; later calls work when Redis does."""
    store = Store.connect(server.url, call_seconds=0.3)
    await store.open(EpisodeSpec("ep_1"))
    server.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"no answer within 0\.3 s"):
        await commit(store, "ep_1", turn("t"))

    assert time.monotonic() - started < 3
    server.process.send_signal(signal.SIGCONT)
    assert await commit(store, "ep_1", turn("t")) == 0
    await store.close()


def fill_memory(admin: redis.Redis, directory: Path) -> None:
    admin.config_set("maxmemory", 1)


def break_disk(admin: redis.Redis, directory: Path) -> None:
    """Redis refuses writes after a snapshot failed, as on a full disk."""
    (directory / "dump.rdb").mkdir()
    admin.config_set("save", "3600 1000000")
    admin.bgsave()
    while admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
        time.sleep(0.01)


@pytest.mark.parametrize("fill", [fill_memory, break_disk])
async def test_a_redis_that_is_full_is_unavailable(
    server: KillableRedis, fill: Callable[[redis.Redis, Path], None]
) -> None:
    """A full Redis refuses each write as a whole, answers reads, and accepts the repeated write when there is room."""
    store = Store.connect(server.url)
    await store.open(EpisodeSpec("ep_1"))
    made = turn("t", [1], output([2]))
    with redis.Redis.from_url(server.url) as admin:
        fill(admin, server.directory)
        for write in (commit(store, "ep_1", made), store.seal("ep_1"), store.sweep()):
            with pytest.raises(StoreUnavailable, match="check Redis and retry"):
                await write
        assert (await store.episode("ep_1")).header.num_turns == 0
        admin.config_set("maxmemory", 0)
        admin.config_set("save", "")
    assert await commit(store, "ep_1", made) == 0
    await store.close()


REFUSALS = [
    ("NOREPLICAS Not enough good replicas to write.", "replicas"),
    (
        "ERR Error running script (call to f_8a1): @user_script:12: MISCONF Redis is configured",
        "disk",
    ),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "busy"),
    ("MASTERDOWN Link with MASTER is down", "master"),
    ("CLUSTERDOWN The cluster is down", "cluster"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "cluster"),
    ("NOAUTH Authentication required.", "password"),
    ("-READONLY You can't write against a read only replica.", "read-only"),
]


@pytest.mark.parametrize(("answer", "why"), REFUSALS)
def test_every_refusal_of_redis_has_a_reason_in_plain_words(answer: str, why: str) -> None:
    """The caller reads why the store is unavailable, and nothing of a script's digest or lines."""
    error = translate(ResponseError(answer))

    assert isinstance(error, StoreUnavailable)
    assert why in str(error)
    assert "script (" not in str(error)
    assert "f_8a1" not in str(error)


def test_an_error_of_a_script_is_no_outage() -> None:
    """A word in the middle of another one, or an error of our own, is not taken for a refusal."""
    for text in ("ERR BUSYGROUP exists", "ERR user_script:3: attempt to compare nil with number"):
        assert not isinstance(translate(ResponseError(text)), StoreUnavailable)


async def test_a_redis_without_its_replicas_takes_no_writes(server: KillableRedis) -> None:
    """Reads go on; the probe of readiness and every transition say that the store is unavailable."""
    store = Store.connect(server.url)
    await store.open(EpisodeSpec("ep_1"))
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("min-replicas-to-write", 1)
        for write in (store.ping(), store.seal("ep_1"), store.sweep()):
            with pytest.raises(StoreUnavailable, match="too few of its replicas"):
                await write
        assert (await store.episode("ep_1")).header.status is EpisodeStatus.OPEN
        admin.config_set("min-replicas-to-write", 0)

    await store.ping()
    await store.close()


async def test_closing_the_store_fails_what_is_waiting(server: KillableRedis) -> None:
    """Closing the store fails the calls that wait."""
    store = Store.connect(server.url)
    await store.ping()
    server.process.send_signal(signal.SIGSTOP)
    waiting = asyncio.create_task(store.ping())
    await asyncio.sleep(0.05)

    await store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await waiting


async def test_a_redis_that_loses_acknowledged_turns_is_named(server: KillableRedis) -> None:
    """The store names what is weaker than it needs, and nothing of a Redis that has all."""
    store = Store.connect(server.url)
    strong = await store.weaknesses()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("appendfsync", "everysec")
    weak = await store.weaknesses()
    await store.close()

    assert strong == []
    assert weak == ["appendfsync is everysec, not always"]
