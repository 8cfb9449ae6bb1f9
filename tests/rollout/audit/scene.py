"""A project in which something of every kind has happened, and the tools to corrupt it by hand."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy import text

from rollout.audit.audit import Audit, Report
from rollout.episode.advantages import Credit
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import Reward
from rollout.ledger.database import Database
from rollout.ledger.ledger import Ledger
from rollout.policies import Policy, PolicyStore
from rollout.settler import settle
from rollout.store.sharded.sharded_store import open_store
from rollout.store.store import Store
from tests.rollout.clock import Clock
from tests.rollout.play import claim, play

PARENTS = {0: None, 1: 0, 2: 1, 3: 1, 4: 3}
CREDIT = Credit(struct.pack("<f", 0.5), 1)


@asynccontextmanager
async def opened(
    redis_url: str, project: str, ledger_file: Path, *, num_shards: int = 1
) -> AsyncIterator["Scene"]:
    """A project on this Redis, with this ledger."""
    url = f"sqlite:///{ledger_file}"
    clock = Clock()
    store = open_store(redis_url, project=project, clock=clock, num_shards=num_shards)
    database = Database.connect(url)
    if not ledger_file.exists():
        await database.migrate()
    ledger = Ledger(database)
    redis = Redis.from_url(redis_url)
    try:
        yield Scene(store, ledger, redis, database, clock)
    finally:
        await redis.aclose()
        await ledger.close()
        await store.close()


class Scene:
    """Built by `play_everything`; corrupted through `redis` and `sql`."""

    def __init__(
        self, store: Store, ledger: Ledger, redis: Redis, database: Database, clock: Clock
    ) -> None:
        self.store, self.ledger, self.redis, self._database = store, ledger, redis, database
        self.clock = clock

    def key(self, name: str) -> str:
        return f"turngate:{{{self.store.project}}}:{name}"

    async def keys(self) -> list[bytes]:
        return await self.redis.keys(self.key("*"))

    async def sql(self, statement: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(text(statement))

    async def audit(self, **options: object) -> Report:
        return await Audit(self.store, self.ledger, **options).run()

    async def train(self, version: int, parent: int, *groups: str) -> None:
        claims = await claim(self.store, version=version, staleness=9)
        assert {each.group_id for each in claims} == set(groups)
        policy = Policy(version, f"/weights/{version}", parent, "digest", 7)
        credit = {e.header.id: CREDIT for each in claims for e in each.episodes}
        await self.store.ack("trainer", groups, policy, step=version, credit=credit)

    async def publish(self, weights_dir: Path, version: int) -> None:
        """Write the directory of a policy and record it, as a restarted trainer does."""
        policies, parent = PolicyStore(weights_dir), PARENTS[version]
        base = weights_dir.with_name("base")
        await asyncio.to_thread(base.mkdir, exist_ok=True)
        policy = policies.write(
            version, parent=parent, base_dir=base, write_weights=lambda _: None, created=7
        )
        await self.store.record_policy(policy)

    async def settle(self) -> None:
        await settle(self.store, self.ledger)

    async def play_everything(self) -> None:
        """Two steps, a restore to the first, a third step; then groups and episodes in every state."""
        store = self.store
        await store.record_policy(Policy(0, "/weights/0", None, "digest", 7))
        for name in ("ep_1", "ep_2"):
            await play(store, name, group="g1", size=2)
        await self.train(1, 0, "g1")
        await play(store, "ep_3", group="g2", size=1)
        await self.train(2, 1, "g2")
        await self.settle()
        await store.restore(1)
        await self.settle()
        await store.record_policy(Policy(3, "/weights/3", 1, "digest", 7))
        await self.train(4, 3, "g2")
        await self._discard_some()
        await self._leave_some_live()
        await self.settle()
        await play(store, "ep_unsettled", value=None)
        await store.seal("ep_unsettled", outcome="aborted")

    async def _discard_some(self) -> None:
        await play(self.store, "ep_aborted", value=None)
        await self.store.seal("ep_aborted", outcome="aborted")
        await play(self.store, "ep_deleted")
        await self.store.delete("ep_deleted")

    async def _leave_some_live(self) -> None:
        store = self.store
        await play(store, "ep_claimed", group="g_claimed", size=1)
        await claim(store, version=4, staleness=9)
        await play(store, "ep_ready", group="g_ready", size=1)
        await play(store, "ep_sealed", group="g_open", size=4, value=None)
        await store.seal("ep_sealed")
        await store.open(EpisodeSpec("ep_open", group_id="g_open", group_size=4))
        await store.open(EpisodeSpec("ep_held_out", kind="side"))
        await store.reward("ep_open", Reward(0.5, idempotency_key="k"))
        await store.reward("ep_open", Reward(0.75, idempotency_key="l"))
