"""The counter by which gateways hear that keys changed."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from rollout.store.key_changes import PREFIX, KeyChanges
from rollout.store.store import Store
from tests.redis_server import spawn, wait_until_ready

READ_AGAIN = 5.0


async def follows(changes: KeyChanges, revision: int) -> None:
    """Wait until the revision is this one."""
    async with asyncio.timeout(READ_AGAIN):
        while changes.revision != revision or changes.age_seconds > 1:
            await asyncio.sleep(0.01)


async def test_a_change_reaches_every_follower(tmp_path: Path) -> None:
    """One store announces, another reads the new number; one that was announced without Redis follows its return."""
    process = spawn(tmp_path)
    url = wait_until_ready(tmp_path)
    stores = [Store.connect(url, call_seconds=1.0) for _ in range(2)]
    here, there = (store.key_changes() for store in stores)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(changes.follow()) for changes in (here, there)]
            await here.announce()
            assert here.revision == 1
            await follows(there, 1)
            process.kill()
            process.wait(timeout=20)
            await here.announce()
            process = spawn(tmp_path)
            wait_until_ready(tmp_path)
            await follows(here, 2)
            await follows(there, 2)
            for task in running:
                task.cancel()
    finally:
        for store in stores:
            await store.close()
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.parametrize("garbage", ["no number", ["a", "list"]])
async def test_garbage_in_the_counter_ends_no_follower(
    redis_url: str, garbage: str | list[str]
) -> None:
    """A follower that reads garbage knows nothing new, and goes on when the counter is repaired."""
    store = Store.connect(redis_url)
    changes = store.key_changes()
    async with Redis.from_url(redis_url) as redis, asyncio.TaskGroup() as tasks:
        await redis.delete(PREFIX + "revision")
        following = tasks.create_task(changes.follow())
        await follows(changes, 0)
        await redis.delete(PREFIX + "revision")
        if isinstance(garbage, str):
            await redis.set(PREFIX + "revision", garbage)
        else:
            await redis.rpush(PREFIX + "revision", *garbage)
        async with asyncio.timeout(READ_AGAIN):
            while changes.age_seconds < 1:
                await asyncio.sleep(0.05)
        await redis.delete(PREFIX + "revision")
        await changes.announce()
        await follows(changes, 1)
        following.cancel()
    await store.close()
