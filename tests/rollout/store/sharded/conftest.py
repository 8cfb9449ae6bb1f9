"""A project in three shards of the run's Redis, and names of groups that lie in each."""

import uuid
from collections.abc import AsyncIterator
from itertools import count

import pytest

from rollout.store.sharded.placement import shard_of
from rollout.store.sharded.sharded_store import open_store
from rollout.store.store import Store
from tests.rollout.clock import Clock

SHARDS = 3


@pytest.fixture
async def store(redis_url: str, clock: Clock) -> AsyncIterator[Store]:
    store = open_store(redis_url, project=uuid.uuid4().hex, clock=clock, num_shards=SHARDS)
    yield store
    await store.close()


@pytest.fixture
async def other(store: Store, redis_url: str, clock: Clock) -> AsyncIterator[Store]:
    """The same project in another process, which remembers nothing of what this one did."""
    other = open_store(redis_url, project=store.project, clock=clock, num_shards=SHARDS)
    yield other
    await other.close()


def group_in(shard: int) -> str:
    """A group that lies there."""
    return next(name for n in count() if shard_of(name := f"grp_{n}", SHARDS) == shard)
