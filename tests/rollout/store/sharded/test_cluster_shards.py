"""One project over the three nodes of a real Redis Cluster, one of which is killed in the middle of its work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import redis

from rollout.audit.audit import Audit
from rollout.errors import ClaimLost, StoreUnavailable
from rollout.ledger.database import Database
from rollout.ledger.ledger import Ledger
from rollout.policies import Policy
from rollout.settler import settle
from rollout.store.sharded.sharded_store import open_store
from rollout.store.store import Store
from tests.redis_cluster import kill, running_cluster, serves, serving, wait_until
from tests.rollout.audit.scene import CREDIT
from tests.rollout.play import claim, play, policy

EPISODES, SHARDS = 60, 6
T = TypeVar("T")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    database = Database.connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    await database.migrate()
    ledger = Ledger(database)
    yield ledger
    await ledger.close()


async def insisted(call: Callable[[], Awaitable[T]]) -> T:
    """As gateways and trainers do: they repeat what Redis did not answer."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(0.05)


async def train(store: Store, until: int) -> int:
    """Claim and acknowledge until so many episodes are trained; gives the last version."""
    version = 0
    while (await insisted(store.totals)).trained < until:
        version += 1
        made = Policy(version, f"/weights/{version}", policy(version).parent, "digest", 7)
        claims = await insisted(lambda: claim(store, groups=7, version=1))
        ids = [each.group_id for each in claims]
        credit = {e.header.id: CREDIT for each in claims for e in each.episodes}
        try:
            if ids:
                await insisted(lambda: store.ack("trainer", ids, made, credit=credit))  # noqa: B023
        except ClaimLost:
            version -= 1
        if not ids:
            version -= 1
            await asyncio.sleep(0.05)
    return version


async def test_a_killed_node_loses_nothing_and_trains_nothing_twice(
    tmp_path: Path, ledger: Ledger
) -> None:
    """Turns lie on all three nodes; while one is down and after it every episode is recorded and trained once."""
    with running_cluster(tmp_path) as ports, contextlib.ExitStack() as again:
        store = open_store(f"redis://127.0.0.1:{ports[0]}", project="p", num_shards=SHARDS)
        await store.record_policy(policy(0))
        await store.take_over("trainer")

        async def agents(first: int) -> None:
            for number in range(first, EPISODES, 6):
                await insisted(lambda: play(store, f"ep_{number}", group=f"g_{number}", size=1))  # noqa: B023

        playing = asyncio.gather(*map(agents, range(6)), train(store, EPISODES))
        while (await insisted(store.totals)).opened < EPISODES // 3:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(kill, ports[1])
        again.enter_context(serving(tmp_path / "1", ports[1]))
        with redis.Redis(port=ports[1]) as client:
            await asyncio.to_thread(wait_until, lambda: serves(client))
        *_, newest = await playing
        await settle(store, ledger)

        for port in ports:
            with redis.Redis(port=port) as client:
                assert client.keys("turngate:{p*}:ep.turns:*")
        report = await Audit(store, ledger).run()
        rows = await ledger.episodes("p", [f"ep_{number}" for number in range(EPISODES)])
        await store.close()

    assert report.offenders == ()
    assert report.trained == EPISODES
    assert {row.disposition for row in rows.values()} == {"trained"}
    assert newest >= EPISODES // 7
