"""The settler: handles deadlines without polling, and writes every settled episode to the ledger."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from redis.asyncio import Redis

from rollout.episode.episode_records import EpisodeSpec, SettledEpisode
from rollout.ledger.database import Database
from rollout.ledger.ledger import Ledger
from rollout.policies import Policy
from rollout.settler import Settler, settle
from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.rollout.play import claim, play, policy


class TellingLedger(Ledger):
    """A ledger that signals the test after a write."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        super().__init__(database, clock=clock)
        self.heard = asyncio.Event()

    async def settle(self, project: str, episodes: Sequence[SettledEpisode]) -> None:
        await super().settle(project, episodes)
        self.heard.set()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[TellingLedger]:
    ledger = await TellingLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    await ledger.close()


async def test_settled_episodes_reach_the_ledger_once(store: Store, ledger: Ledger) -> None:
    """The outbox is empty afterwards, and settling again moves nothing."""
    await play(store, "ep_1", version=4)
    await store.open(EpisodeSpec("ep_2", task_id="t"))
    await store.seal("ep_2", outcome="aborted")
    claims = await claim(store, version=4)
    await store.ack("trainer", [claims[0].group_id], policy(5))

    assert await settle(store, ledger) == 2
    assert await settle(store, ledger) == 0

    trained = await ledger.episode(store.project, "ep_1")
    assert (trained.disposition, trained.policy_version, trained.reward) == ("trained", 5, 1.0)
    assert (trained.min_version, trained.num_turns, trained.outcome) == (4, 1, "succeeded")
    aborted = await ledger.episode(store.project, "ep_2")
    assert (aborted.disposition, aborted.task_id) == ("aborted", "t")


async def test_a_row_that_the_ledger_refuses_hinders_no_other(
    store: Store, ledger: Ledger, redis_url: str
) -> None:
    """A number that no column holds: that episode is written anew without it, and the others are recorded."""
    for name in ("ep_1", "ep_2", "ep_3"):
        await store.open(EpisodeSpec(name))
        await store.seal(name, outcome="aborted")
    async with Redis.from_url(redis_url) as client:
        await client.hset(f"turngate:{{{store.project}}}:ep:ep_2", "sealed", str(2**70))

    await settle(store, ledger)

    recorded = [await ledger.episode(store.project, f"ep_{n}") for n in (1, 2, 3)]
    assert [row.disposition for row in recorded] == ["aborted"] * 3
    assert await store.settled() == []


async def test_a_policy_that_the_ledger_refuses_hinders_no_other(
    store: Store, ledger: Ledger
) -> None:
    """A time that no column holds: that policy is left out, the others are recorded, and the outbox is empty."""
    for version, created in ((1, 10), (2, 2**70), (3, 30)):
        await store.record_policy(Policy(version, "path", None, "digest", created))

    await settle(store, ledger)

    assert [known.version for known in await ledger.policies(store.project)] == [1, 3]
    assert await store.published() == []


@pytest.mark.parametrize("field", ["created", "settled", "output_tokens"])
async def test_a_record_that_is_written_anew_is_sound(
    store: Store, ledger: Ledger, redis_url: str, field: str
) -> None:
    """A number that nobody can read is not kept: the episode is moved aside once, and then recorded."""
    await store.open(EpisodeSpec("ep_1"))
    await store.seal("ep_1", outcome="aborted")
    async with Redis.from_url(redis_url) as client:
        await client.hset(f"turngate:{{{store.project}}}:ep:ep_1", field, "1e+30")

    for _ in range(2):
        await settle(store, ledger)

    assert (await ledger.episode(store.project, "ep_1")).disposition == "aborted"
    assert await store.settled() == []
    assert store.num_set_aside <= 1


async def test_a_requeued_episode_says_so_in_the_ledger(store: Store, ledger: Ledger) -> None:
    """Its row follows it when it is requeued and ends again; an older entry never replaces a newer one."""
    await play(store, "ep_1")
    claims = await claim(store)
    await store.ack("trainer", [claims[0].group_id], policy(2))
    first = await store.settled()
    await store.restore(1)

    await settle(store, ledger)
    assert (await ledger.episode(store.project, "ep_1")).disposition == "requeued"
    await ledger.settle(store.project, first)
    await store.settle_done(first)
    assert (await ledger.episode(store.project, "ep_1")).disposition == "requeued"

    claims = await claim(store)
    await store.ack("trainer", [claims[0].group_id], policy(3))
    await settle(store, ledger)
    assert (await ledger.episode(store.project, "ep_1")).policy_version == 3


async def test_the_settler_keeps_deadlines_it_learns_of_while_asleep(
    redis_url: str, ledger: TellingLedger
) -> None:
    """An episode opened after it fell asleep expires on time and reaches the ledger."""
    store = Store.connect(redis_url, project=uuid.uuid4().hex, timings=Timings(idle=0.3))
    settler = asyncio.create_task(Settler(store, ledger).run())
    await asyncio.sleep(0.1)

    await store.open(EpisodeSpec("ep_1"))

    await asyncio.wait_for(ledger.heard.wait(), 10)
    row = await ledger.episode(store.project, "ep_1")
    assert row.disposition == "expired"
    assert row.settled_ms - row.created_ms < 2000
    settler.cancel()
    await asyncio.gather(settler, return_exceptions=True)
    await store.close()


async def test_a_sleeping_settler_asks_redis_nothing(redis_url: str, ledger: Ledger) -> None:
    """With nothing due it waits for a signal instead of polling."""
    store = Store.connect(redis_url, project=uuid.uuid4().hex)
    settler = asyncio.create_task(Settler(store, ledger).run())
    await store.open(EpisodeSpec("ep_1"))
    await asyncio.sleep(0.2)
    before = await scripts_run(redis_url)

    await asyncio.sleep(0.5)

    assert await scripts_run(redis_url) == before
    settler.cancel()
    await asyncio.gather(settler, return_exceptions=True)
    await store.close()


async def scripts_run(redis_url: str) -> int:
    """How many scripts this Redis has run for anybody."""
    async with Redis.from_url(redis_url) as client:
        stats = await client.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))
