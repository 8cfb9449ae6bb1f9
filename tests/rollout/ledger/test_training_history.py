"""The ledger's history of training: lineages, steps and the episodes of each version."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from rollout.ledger.database import MIGRATIONS, Database
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import TrainedEpisode, TrainingStep
from rollout.policies import Policy, Publication
from rollout.settler import settle
from rollout.store.store import Store
from tests.rollout.play import claim, play, policy


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    await ledger.close()


def child(version: int, parent: int | None) -> Policy:
    return Policy(version, f"/weights/v{version:08}", parent, "digest", 7)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (0, 4, 2, 5, 3, 1)])
async def test_policies_of_a_lineage_that_was_left_are_abandoned(
    ledger: Ledger, order: tuple[int, ...]
) -> None:
    """2 and 3 were left when 4 continued from 1, in whatever order they reach the ledger."""
    parents = {0: None, 1: 0, 2: 1, 3: 2, 4: 1, 5: 4}
    for version in order:
        await ledger.record_policy("p", child(version, parents[version]))
        await ledger.record_policy("other", child(version, version - 1))

    assert [p.version for p in await ledger.lineages("p") if p.abandoned] == [2, 3]
    assert not any(p.abandoned for p in await ledger.lineages("other"))


async def test_recording_a_policy_again_keeps_its_mark(ledger: Ledger) -> None:
    """A restarted trainer records its policy again; an abandoned one stays abandoned."""
    for version, parent in ((0, None), (1, 0), (2, 0), (1, 0), (0, None)):
        await ledger.record_policy("p", child(version, parent))

    assert [p.version for p in await ledger.lineages("p") if p.abandoned] == [1]


async def test_a_step_names_its_parent_and_its_episodes(store: Store, ledger: Ledger) -> None:
    """Of a trainer that died right after the ack, the settler still records policy, step and episodes."""
    for name in ("ep_1", "ep_2"):
        await play(store, name, group="g", size=2)
    await claim(store)
    await store.ack("trainer", ["g"], policy(1), step=4)

    await settle(store, ledger)

    project = store.project
    assert await ledger.policies(project) == [policy(1)]
    assert await ledger.training_steps(project) == [TrainingStep(4, 1, {}, 7, parent=0)]
    trained = await ledger.trained_episodes(project)
    assert [(e.version, e.episode_id) for e in trained] == [(1, "ep_1"), (1, "ep_2")]
    header = (await store.episode("ep_1")).header
    assert trained[0].created_ms == header.created_ms
    assert await store.published() == []


async def test_metrics_of_a_step_are_kept_whoever_comes_first(ledger: Ledger) -> None:
    """The outbox never replaces what the trainer recorded; the trainer fills in what the outbox recorded."""
    whole = TrainingStep(4, 1, {"loss": 0.5}, 7, parent=0)
    await ledger.record_step("p", whole)
    await ledger.record_publications("p", [Publication(policy(1), 4)])
    assert await ledger.training_steps("p") == [whole]

    await ledger.record_publications("q", [Publication(policy(1), 4)])
    await ledger.record_step("q", whole)
    assert await ledger.training_steps("q") == [whole]


async def test_a_restored_step_keeps_the_abandoned_one_beside_it(
    store: Store, ledger: Ledger
) -> None:
    """The same step number and the same episode, first in the abandoned version 2, then in version 4."""
    await play(store, "ep_1", group="g", size=1)
    await claim(store)
    await store.ack("trainer", ["g"], policy(2), step=2)
    await settle(store, ledger)
    await store.restore(1)
    await store.record_policy(child(3, 1))
    await claim(store, version=3, staleness=9)
    await store.ack("trainer", ["g"], child(4, 3), step=2)
    await settle(store, ledger)

    steps = await ledger.training_steps(store.project)
    assert [(s.step, s.version, s.parent, s.abandoned) for s in steps] == [
        (2, 2, 1, True),
        (2, 4, 3, False),
    ]
    trained = await ledger.trained_episodes(store.project)
    assert [(e.version, e.episode_id) for e in trained] == [(2, "ep_1"), (4, "ep_1")]


async def test_trained_episodes_are_read_in_pages(store: Store, ledger: Ledger) -> None:
    """Pages of any size give every row once, in order."""
    for version in (1, 2):
        for name in "abc":
            await play(store, f"ep_{version}{name}", group=f"g{version}", size=3)
        await claim(store)
        await store.ack("trainer", [f"g{version}"], policy(version))
    await settle(store, ledger)

    everything = await ledger.trained_episodes(store.project)
    found: list[TrainedEpisode] = []
    while page := await ledger.trained_episodes(
        store.project, after=found[-1] if found else None, limit=2
    ):
        found += page
    assert found == everything
    assert len(found) == 6


async def test_an_older_ledger_is_brought_up_to_date(tmp_path: Path) -> None:
    """Steps get their version as key, trained episodes their rows, and policies that were left their mark."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    database = Database.connect(url)

    def migrate(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")

    async with database.transaction() as connection:
        await connection.run_sync(migrate)
        await connection.execute(text("INSERT INTO projects VALUES ('p', 's', 1)"))
        for version, parent in ((0, "NULL"), (1, 0), (2, 1), (3, 1)):
            await connection.execute(
                text(f"INSERT INTO policies VALUES ('p', {version}, {parent}, '', '', 1)")
            )
        for step, version in ((1, 1), (2, 3)):
            await connection.execute(
                text(f"INSERT INTO training_steps VALUES ('p', {step}, {version}, '{{}}', 5)")
            )
        await connection.execute(
            text(
                "INSERT INTO episodes VALUES ('p', 'ep_1', 'g', '', 'train', '', '', 'trained', 3, "
                "1.0, 1, 1, 1, 0, 0, 'succeeded', 0, 11, 12, 13, 1, 1)"
            )
        )
    await database.close()

    ledger = await Ledger.open(url)

    assert [p.version for p in await ledger.lineages("p") if p.abandoned] == [2]
    assert [(s.step, s.version, s.parent) for s in await ledger.training_steps("p")] == [
        (1, 1, 0),
        (2, 3, 1),
    ]
    assert await ledger.trained_episodes("p") == [TrainedEpisode(3, "ep_1", 11)]
    await ledger.close()
