"""A Redis that comes back with older data, or with none: nothing is trained twice, and the audit names what was lost."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollout.audit.audit import Audit, Report
from rollout.audit.journal import JournalLine
from rollout.catching_up import catch_up
from rollout.episode.advantages import Credit
from rollout.episode.episode_records import EpisodeSpec
from rollout.errors import LineageLeft
from rollout.ledger.ledger import Ledger
from rollout.policies import Policy, PolicyStore
from rollout.settler import settle
from rollout.store.store import Store
from tests.redis_server import spawn, wait_until_ready
from tests.rollout.play import claim, play

AOF = "appendonly.aof"
CREDIT = Credit(struct.pack("<f", 0.5), 1)


class Installation:
    """A Redis of its own that can be cut back, a ledger, and policies on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.policies = PolicyStore(directory / "weights")
        (directory / "base").mkdir()
        (directory / "redis").mkdir()
        self.journal: list[JournalLine] = []

    async def start(self) -> None:
        self.redis = spawn(self.directory / "redis")
        url = await asyncio.to_thread(wait_until_ready, self.directory / "redis")
        self.store = Store.connect(url)
        self.ledger = await Ledger.open(f"sqlite:///{self.directory / 'ledger.db'}")

    async def stop(self) -> None:
        await self.store.close()
        await self.ledger.close()
        self.redis.kill()
        await asyncio.to_thread(self.redis.wait)

    async def comes_back_with(self, size: int) -> None:
        """Kill Redis and keep only the first bytes of its append-only file, as an older backup has them."""
        await self.stop()
        file = self.directory / "redis" / AOF
        file.write_bytes(file.read_bytes()[:size])
        await self.start()

    @property
    def size(self) -> int:
        return (self.directory / "redis" / AOF).stat().st_size

    async def play(self, name: str) -> None:
        await play(self.store, name, group=f"grp_{name}", size=1)
        self.journal.append(JournalLine(name, turn_id=f"turn of {name}"))
        self.journal.append(JournalLine(name, reward=1.0))

    async def train(self, version: int, parent: int) -> None:
        claims = await claim(self.store, version=version, staleness=9)
        credit = {e.header.id: CREDIT for each in claims for e in each.episodes}
        ids = [each.group_id for each in claims]
        policy = self.write(version, parent)
        await self.store.ack("trainer", ids, policy, step=version, credit=credit)

    def write(self, version: int, parent: int | None) -> Policy:
        base = self.directory / "base"
        return self.policies.write(
            version, parent=parent, base_dir=base, write_weights=lambda _: None, created=7
        )

    async def audit(self) -> Report:
        audit = Audit(self.store, self.ledger, policies=self.policies, journal=self.journal)
        return await audit.run()


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    made = Installation(tmp_path)
    await made.start()
    await made.store.record_policy(made.write(0, None))
    await made.play("ep_1")
    await made.train(1, 0)
    await settle(made.store, made.ledger)
    yield made
    await made.stop()


async def test_an_older_redis_trains_nothing_twice(installation: Installation) -> None:
    """Cut back to before a step: the trainer cannot record on top of it, catches up, and what was trained is not queued again."""
    await installation.play("ep_2")
    before_step, known = installation.size, len(installation.journal)
    await installation.train(2, 1)
    await installation.play("ep_3")
    await settle(installation.store, installation.ledger)
    assert (await installation.audit()).offenders == ()

    await installation.comes_back_with(before_step)

    with pytest.raises(LineageLeft, match="recorded policy 1, and this one continues 2"):
        await installation.train(3, 2)
    lost = {(o.kind, o.id) for o in (await installation.audit()).offenders}
    assert {("turn", "turn of ep_3"), ("policy", "2"), ("policy", "next")} <= lost

    newest = await catch_up(installation.store, installation.ledger, installation.policies)

    assert newest == installation.policies.policy(2)
    assert await claim(installation.store, version=2) == []
    assert await installation.store.episode("ep_2") is None
    report = await installation.audit()
    assert {(o.kind, o.id) for o in report.offenders} == {
        ("turn", "turn of ep_3"),
        ("reward", "*|reward"),
    }
    del installation.journal[known:]
    await installation.play("ep_4")
    assert await installation.store.next_version() == 4
    await installation.train(4, 2)
    await settle(installation.store, installation.ledger)
    assert (await installation.audit()).offenders == ()
    assert (await installation.ledger.episode("default", "ep_4")).policy_version == 4


async def test_a_redis_without_its_data_goes_on(installation: Installation) -> None:
    """The newest policy is recorded again, no version is reused, lost acknowledged turns are named, and the rest is sound."""
    await installation.play("ep_2")

    await installation.comes_back_with(0)
    await catch_up(installation.store, installation.ledger, installation.policies)

    assert await installation.store.recorded_policy() == installation.policies.policy(1)
    report = await installation.audit()
    assert {(o.kind, o.id) for o in report.offenders} == {
        ("turn", "turn of ep_2"),
        ("reward", "*|reward"),
    }
    assert ["Redis lost data" in each for each in report.not_compared] == [True]
    del installation.journal[2:]
    await installation.play("ep_3")
    assert await installation.store.next_version() == 2
    await installation.train(2, 1)
    assert await settle(installation.store, installation.ledger) == 1
    assert (await installation.audit()).offenders == ()


async def test_a_redis_that_knows_the_newest_stays_as_it_is(installation: Installation) -> None:
    """A trainer that starts on a sound store changes nothing; a policy whose files are gone is not recorded."""
    before = installation.size
    assert (await catch_up(installation.store, installation.ledger, installation.policies)) is None
    assert installation.size == before

    await installation.ledger.record_policy("default", Policy(2, "", 1, "digest", 7))
    assert (await catch_up(installation.store, installation.ledger, installation.policies)) is None
    assert await installation.store.next_version() == 3


async def test_a_group_that_was_trained_in_part_goes_on_without_what_was(
    installation: Installation,
) -> None:
    """Open, ready and claimed groups lose their trained members; with none left they end, and nothing in the store contradicts."""
    store = installation.store
    await play(store, "ep_a", group="open", size=3)
    await store.open(EpisodeSpec("ep_b", group_id="open"))
    await play(store, "ep_c", group="ready", size=2)
    await play(store, "ep_d", group="ready")
    await play(store, "ep_e", group="claimed", size=2)
    await play(store, "ep_f", group="claimed")
    await play(store, "ep_g", group="gone", size=1)
    await claim(store, groups=2)
    await store.release("trainer", ["ready"])

    assert await store.forget_trained(["ep_a", "ep_c", "ep_e", "ep_f", "ep_g", "ep_none"]) == 5

    found = (await installation.audit()).offenders
    assert [(o.kind, o.id) for o in found] == [("count", "ledger")]  # it has never heard of them
    assert await store.group("gone") is None
    assert await store.group("claimed") is None
    (ready,) = await claim(store)
    assert [view.header.id for view in ready.episodes] == ["ep_d"]
    totals = await store.totals()
    assert (totals.trained, totals.opened) == (1 + 5, 1 + 7)
