"""What the trainer writes to the ledger, and what it does when the ledger refuses."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from rollout.ledger.ledger import Ledger
from rollout.policies import Policy
from rollout.store.store import Store
from trainer.async_bridge import AsyncBridge
from trainer.publish.training_records import TrainingRecords

METRICS = {"staleness_median": 0.0}
POLICY = Policy(version=1, path="/weights/v00000001", parent=0, digest="d", created=1)
LARGER_THAN_A_COLUMN = 2**70


@pytest.fixture
def bridge() -> Iterator[AsyncBridge]:
    with AsyncBridge.open() as bridge:
        yield bridge


@pytest.fixture
def ledger(bridge: AsyncBridge, tmp_path: Path) -> Iterator[Ledger]:
    ledger = bridge.call(Ledger.open, f"sqlite:///{tmp_path}/ledger.db")
    yield ledger
    bridge.close(ledger.close)


@pytest.fixture
def store(bridge: AsyncBridge, redis_url: str) -> Iterator[Store]:
    store = Store.connect(redis_url, project=f"test-{uuid4().hex[:8]}")
    yield store
    bridge.close(store.close)


def test_a_record_that_the_ledger_cannot_hold_stops_no_other(
    bridge: AsyncBridge, store: Store, ledger: Ledger
) -> None:
    """It is left out with an error in the log; training goes on and the next step is recorded."""
    records = TrainingRecords(store, ledger, bridge, project=store.project)

    records.step(LARGER_THAN_A_COLUMN, POLICY, METRICS)
    records.step(2, POLICY, METRICS)

    recorded = bridge.call(ledger.training_steps, store.project)
    assert [(step.step, step.version) for step in recorded] == [(2, 1)]
