"""A store on the run's Redis, in a project of its own, at a time the test decides."""

import uuid
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

from rollout.store.store import Store
from tests.rollout.clock import Clock

settings.register_profile("shared_machine", deadline=None)  # a busy neighbor is not a failure
settings.load_profile("shared_machine")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(redis_url: str, clock: Clock) -> AsyncIterator[Store]:
    store = Store.connect(redis_url, project=uuid.uuid4().hex, clock=clock)
    yield store
    await store.close()
