"""How long a gateway believes what the ledger said about a key."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from gateway.access.memory import CONFIRM_SECONDS, OFFLINE_SECONDS, Memory
from rollout.errors import LedgerUnavailable


class Changes:
    """A revision that is followed until it is cut off."""

    def __init__(self) -> None:
        self.revision = 1
        self.age_seconds = 0.0


class LedgerTable:
    """What the ledger knows, and how often it was asked."""

    def __init__(self) -> None:
        self.value: str | None = "a"
        self.is_up = True
        self.num_asked = 0

    async def ask(self) -> str | None:
        self.num_asked += 1
        if not self.is_up:
            raise LedgerUnavailable("it is down")
        return self.value


class World(NamedTuple):
    memory: Memory[str]
    changes: Changes
    table: LedgerTable
    wait: Callable[[float], None]


@pytest.fixture
def world() -> World:
    now = [1000.0]
    changes = Changes()

    def wait(seconds: float) -> None:
        now[0] += seconds

    return World(Memory(changes, clock=lambda: now[0]), changes, LedgerTable(), wait)


async def test_a_known_key_costs_no_question_until_something_changes(world: World) -> None:
    """The ledger is asked at first, after each change, and once in CONFIRM_SECONDS."""
    for _ in range(3):
        await world.memory.get("k", world.table.ask)
    assert world.table.num_asked == 1
    world.changes.revision += 1
    await world.memory.get("k", world.table.ask)
    await world.memory.get("k", world.table.ask)
    assert world.table.num_asked == 2
    world.wait(CONFIRM_SECONDS + 1)
    await world.memory.get("k", world.table.ask)
    assert world.table.num_asked == 3


async def test_a_deleted_key_is_forgotten_after_a_change(world: World) -> None:
    """After the revision has grown the ledger's answer counts, and a key that it lacks is gone."""
    assert await world.memory.get("k", world.table.ask) == "a"
    world.table.value = None
    assert await world.memory.get("k", world.table.ask) == "a"
    world.changes.revision += 1
    assert await world.memory.get("k", world.table.ask) is None


async def test_a_gateway_that_hears_nothing_asks_every_second(world: World) -> None:
    """While Redis is away a deleted key works for a second at most."""
    await world.memory.get("k", world.table.ask)
    world.changes.age_seconds = 5.0
    world.table.value = None
    world.wait(0.9)
    assert await world.memory.get("k", world.table.ask) == "a"
    world.wait(0.2)
    assert await world.memory.get("k", world.table.ask) is None


async def test_a_known_key_works_for_a_while_without_the_ledger(world: World) -> None:
    """While the database is away, known keys work until OFFLINE_SECONDS are over, and new ones do not."""
    await world.memory.get("k", world.table.ask)
    world.table.is_up = False
    world.changes.revision += 1
    world.wait(OFFLINE_SECONDS - 1)
    assert await world.memory.get("k", world.table.ask) == "a"
    with pytest.raises(LedgerUnavailable):
        await world.memory.get("new", world.table.ask)
    world.wait(2)
    with pytest.raises(LedgerUnavailable):
        await world.memory.get("k", world.table.ask)


async def test_a_ledger_that_is_down_is_asked_once_a_second(world: World) -> None:
    """Known callers do not all wait for a database that did not answer a moment ago."""
    await world.memory.get("k", world.table.ask)
    world.table.is_up = False
    world.changes.revision += 1
    for _ in range(10):
        assert await world.memory.get("k", world.table.ask) == "a"
    assert world.table.num_asked == 2
    world.table.is_up = True
    world.table.value = None
    world.wait(1.1)
    assert await world.memory.get("k", world.table.ask) is None
