"""A worker before it serves: it can be ended, and it says what it knows."""

import asyncio
import os
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gateway.listeners import Sockets
from gateway.settings import Settings
from gateway.workers.channel import Ask, Channel, Message, Reading, Ready, Stop
from gateway.workers.connection_counts import ConnectionCounts
from gateway.workers.worker import work
from tests.gateways import ADMIN_KEY


@pytest.fixture
def settings(redis_url: str, model_dir: Path, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=redis_url,
        database_url=f"sqlite+aiosqlite:///{tmp_path}/ledger.db",
        model_dir=model_dir,
        weights_dir=tmp_path,
        engines="http://127.0.0.1:9",
        engine_admin_key="engine-admin-key",
        admin_key=ADMIN_KEY,
        project=f"test-{tmp_path.name.replace('_', '-')}",
        port=0,
        metrics_port=0,
        best_min_episodes=1,
    )


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[tuple[Channel, AsyncIterator[Message]]]:
    """The parent's end of a worker that is ready, and what it says; the worker has ended after the block."""
    sockets, counts = Sockets.bind(settings), ConnectionCounts.create(1)
    own_end, its_end = socket.socketpair()
    try:
        parent = await Channel.open(own_end)
        messages = parent.messages()
        shared = dict.fromkeys(sockets, counts)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            working = work(settings, sockets, parent=its_end, counts=shared, place=0)
            tasks.create_task(working)
            assert isinstance(await anext(messages), Ready)
            yield parent, messages
        await parent.close()
    finally:
        sockets.close()
        os.close(counts.descriptor)


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "parent_dies"])
async def test_a_worker_that_is_ready_and_not_needed_ends_quietly(
    settings: Settings, *, is_told: bool
) -> None:
    """As when a gateway is stopped while its workers start: that is no failure."""
    async with started(settings) as (parent, _):
        if is_told:
            parent.send(Stop())
        else:
            await parent.close()


async def test_a_state_that_cannot_be_read_ends_no_worker(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A scrape gets what was counted, and the log has the reason."""
    damaged = f"""
        DROP TABLE episodes;
        CREATE TABLE episodes AS SELECT
            '{settings.project}' AS project, 'side' AS kind, 'evaluated' AS disposition,
            1 AS num_rewards, NULL AS reward, 1 AS min_version, 1 AS max_version;
    """
    async with started(settings) as (parent, messages):
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
            ledger.executescript(damaged)
        parent.send(Ask(7, with_state=True))
        reading = await anext(messages)
        parent.send(Stop())
    assert isinstance(reading, Reading)
    assert (reading.id, reading.snapshot) == (7, None)
    assert reading.counted
    assert "state not read" in caplog.messages
