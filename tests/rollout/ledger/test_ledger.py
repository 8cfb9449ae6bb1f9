"""The ledger on real databases: SQLite always, PostgreSQL where one is installed."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from rollout.audit.audit import Audit
from rollout.episode.advantages import Credit
from rollout.episode.episode_records import SettledEpisode
from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.errors import LedgerUnavailable, ValueRefused
from rollout.ledger import tables
from rollout.ledger.database import Database
from rollout.ledger.evaluation import Evaluation
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import SwapRecord, TrainedEpisode, TrainingStep
from rollout.policies import Publication
from rollout.settler import settle
from rollout.store.store import Store
from tests.postgres_server import programs, running_postgres
from tests.rollout.play import claim, play, policy


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", clock=lambda: 1234.5)
    yield ledger
    await ledger.close()


async def test_a_project_is_made_once_with_its_secret(tmp_path: Path) -> None:
    """Processes that start together on a new database agree on it."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledgers = await asyncio.gather(*(Ledger.open(url) for _ in range(4)))

    made = await asyncio.gather(*(ledger.project("default") for ledger in ledgers))

    assert len(set(made)) == 1
    assert len(made[0].episode_secret) == 64
    assert await ledgers[0].projects() == [made[0]]
    for ledger in ledgers:
        await ledger.close()


async def test_a_ledger_reads_what_an_earlier_process_wrote(tmp_path: Path) -> None:
    """Opening an existing database changes nothing in it."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    first = await Ledger.open(url)
    project = await first.project("default")
    await first.close()

    second = await Ledger.open(url)

    assert await second.project("default") == project
    await second.close()


async def test_keys_are_found_by_their_secret_and_never_stored(
    ledger: Ledger, tmp_path: Path
) -> None:
    """The database holds a hash; listing shows a hint; deleting ends it."""
    await ledger.project("default")
    secret = "tg-0123456789abcdef-very-secret"
    key = await ledger.create_key(
        secret, project="default", scopes=["infer", "admin"], name="ci", limits={"per_minute": 60}
    )

    assert await ledger.find_key(secret) == key
    assert await ledger.find_key(secret + "x") is None
    assert (key.scopes, key.limits, key.hint) == (
        {"infer", "admin"},
        {"per_minute": 60},
        secret[:8],
    )
    assert await ledger.keys("default") == await ledger.keys() == [key]
    assert await ledger.keys("other") == []
    assert secret.encode() not in everything_in(tmp_path)
    assert await ledger.delete_key(key.id)
    assert not await ledger.delete_key(key.id)
    assert await ledger.find_key(secret) is None


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def test_creating_a_key_twice_is_creating_it_once(ledger: Ledger) -> None:
    """The bootstrap key may be inserted at every start."""
    await ledger.project("default")

    keys = [
        await ledger.create_key("tg-admin", project="default", scopes=["admin"]) for _ in range(2)
    ]

    assert keys[0] == keys[1]
    assert len(await ledger.keys()) == 1


async def test_policies_steps_and_swaps_are_remembered(ledger: Ledger) -> None:
    """Policies are read by version and steps in order; writing one again replaces it."""
    for version in (0, 2, 1, 2):
        await ledger.record_policy("p", policy(version))
    steps = [TrainingStep(n, n + 1, {"loss": 0.1 * n}, 5) for n in range(4)]
    for step in (*steps, steps[3]):
        await ledger.record_step("p", step)
    swaps = [
        SwapRecord(1, "http://a", 0.25, True, "", 9),
        SwapRecord(1, "http://b", 0.0, False, "refused", 9),
    ]
    await ledger.record_swaps("p", swaps)
    await ledger.record_swaps("p", [])

    assert await ledger.policies("p") == [policy(0), policy(1), policy(2)]
    assert await ledger.policy("p", 2) == policy(2)
    assert await ledger.policy("p", 7) is None
    assert await ledger.training_steps("p", limit=2) == steps[2:]
    assert await ledger.swaps("p") == swaps


async def test_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    """After the last migration, alembic finds no difference from the tables."""
    database = Database.connect(f"sqlite:///{tmp_path / 'ledger.db'}")
    await database.migrate()

    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), tables.metadata)

    async with database.transaction() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_an_unusable_database_says_so(tmp_path: Path) -> None:
    """The message names the setting to look at."""
    with pytest.raises(LedgerUnavailable, match="TURNGATE_DATABASE_URL"):
        await Ledger.open(f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}")
    with pytest.raises(LedgerUnavailable):
        await Ledger.open("postgresql://nobody@127.0.0.1:1/none")


@pytest.fixture
def postgres_url() -> Iterator[str]:
    if programs() is None:
        assert "CI" not in os.environ, "CI needs PostgreSQL"
        pytest.skip("no PostgreSQL on this machine")
    with running_postgres() as url:
        yield url


async def test_postgresql_keeps_the_same_ledger(postgres_url: str, store: Store) -> None:
    """Migrations from several processes at once, upserts, keys and settled episodes work as on SQLite."""
    ledgers = await asyncio.gather(*(Ledger.open(postgres_url) for _ in range(3)))
    ledger = ledgers[0]
    project = await ledger.project("default")
    key = await ledger.create_key("tg-x", project="default", scopes=["infer"], limits={"n": 1})
    for version, parent in ((0, None), (1, 0), (2, 0), (0, None)):
        known = msgspec.structs.replace(policy(version), parent=parent)
        await ledger.record_publications("p", [Publication(known, version or None)])
    await play(store, "ep_1")
    header = (await store.episode("ep_1")).header
    trained = msgspec.structs.replace(header, id="ep_3", policy_version=2)
    await ledger.settle("p", [SettledEpisode(trained, 1.0, 4)])
    for sequence, reward in ((2, 0.5), (1, 0.25)):
        await ledger.settle("p", [SettledEpisode(header, reward, sequence)])
    held_out = msgspec.structs.replace(
        header, id="ep_2", kind="side", reason=DiscardReason.NO_SIGNAL
    )
    await ledger.settle("p", [SettledEpisode(held_out, 0.5, 3)])

    assert await ledgers[1].evaluations("p") == [Evaluation(1, 1, 0.5, 0.0)]
    assert await ledgers[1].project("default") == project
    assert await ledgers[2].find_key("tg-x") == key
    assert [p.abandoned for p in await ledger.lineages("p")] == [False, True, False]
    steps = await ledger.training_steps("p")
    assert [(s.step, s.parent, s.abandoned) for s in steps] == [(1, 0, True), (2, 0, False)]
    assert await ledger.trained_episodes("p") == [TrainedEpisode(2, "ep_3", header.created_ms)]
    assert (await ledger.episode("p", "ep_1")).reward == 0.5
    assert header.status is EpisodeStatus.REWARDED
    await audit_postgresql(store, ledger)
    for opened in ledgers:
        await opened.close()


async def audit_postgresql(store: Store, ledger: Ledger) -> None:
    """An audit reads PostgreSQL as it reads SQLite: pages, lineages, and an id that is used again."""
    claims = await claim(store)
    credit = {"ep_1": Credit(struct.pack("<f", 0.5), 1)}
    await store.ack("trainer", [claims[0].group_id], policy(0), step=1, credit=credit)
    await settle(store, ledger)
    again = (await store.episode("ep_1")).header
    earlier = msgspec.structs.replace(again, created_ms=1, policy_version=None)
    await ledger.settle(store.project, [SettledEpisode(earlier, 1.0, 0)])
    assert await ledger.latest_sequence(store.project) == 1

    report = await Audit(store, ledger).run()

    assert report.offenders == ()
    assert (report.settled, report.trained) == (1, 1)
    await ledger.settle(store.project, [SettledEpisode(again, 2.0, 2)])
    assert [(o.kind, o.id) for o in (await Audit(store, ledger).run()).offenders] == [
        ("episode", "ep_1")
    ]


async def test_postgresql_ends_the_transaction_of_a_stalled_process(postgres_url: str) -> None:
    """Its locks would keep out all others; it learns that it has to begin again."""
    database = Database.connect(postgres_url)
    shown = text("SHOW idle_in_transaction_session_timeout")

    async def stall() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SET idle_in_transaction_session_timeout = '50ms'"))
            await asyncio.sleep(0.5)
            await connection.execute(shown)

    with pytest.raises(LedgerUnavailable):
        await stall()
    async with database.transaction() as connection:
        by_default = (await connection.execute(shown)).scalar_one()
    await database.close()

    assert by_default == "30s"


async def test_postgresql_that_takes_no_writes_moves_nothing_aside(
    postgres_url: str, store: Store
) -> None:
    """A settled episode stays in the outbox with its turns; only a value that no column holds is the episode's fault."""
    await (await Ledger.open(postgres_url)).close()
    await play(store, "ep_1")
    await store.ack("trainer", [(await claim(store))[0].group_id], policy(2))
    before = await store.episode("ep_1")
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    ledger = await Ledger.open(postgres_url)

    with pytest.raises(LedgerUnavailable, match="read-only"):
        await settle(store, ledger)

    await ledger.close()
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
    await connection.close()
    ledger = await Ledger.open(postgres_url)
    assert await store.episode("ep_1") == before
    huge = msgspec.structs.replace(before.header, num_output_tokens=2**40)
    with pytest.raises(ValueRefused):
        await ledger.settle(store.project, [SettledEpisode(huge, 1.0, 1)])
    with pytest.raises(ValueRefused):
        await ledger.create_key("tg-x", project=store.project, scopes=["infer"], name="a\0b")
    assert await settle(store, ledger) == 1
    await ledger.close()
