"""A worker that its parent ends before it serves."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from gateway.listeners import Sockets
from gateway.settings import Settings
from gateway.workers.channel import Channel, Ready, Stop
from gateway.workers.connection_counts import ConnectionCounts
from gateway.workers.worker import work
from tests.gateways import ADMIN_KEY


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "parent_dies"])
async def test_a_worker_that_is_ready_and_not_needed_ends_quietly(
    redis_url: str, model_dir: Path, tmp_path: Path, *, is_told: bool
) -> None:
    """As when a gateway is stopped while its workers start: that is no failure."""
    settings = Settings(
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
    )
    sockets, counts = Sockets.bind(settings), ConnectionCounts.create(1)
    own_end, its_end = socket.socketpair()
    try:
        parent = await Channel.open(own_end)
        shared = dict.fromkeys(sockets, counts)
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            working = work(settings, sockets, parent=its_end, counts=shared, place=0)
            tasks.create_task(working)
            assert isinstance(await anext(parent.messages()), Ready)
            if is_told:
                parent.send(Stop())
            else:
                await parent.close()
        await parent.close()
    finally:
        sockets.close()
        os.close(counts.descriptor)
