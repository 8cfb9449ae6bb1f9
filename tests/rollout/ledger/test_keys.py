"""Keys in the ledger: what remains of a deleted one, and calls that may be repeated."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from rollout.errors import KeyDeleted, RetryMismatch
from rollout.ledger.keys import REPEATABLE_SECONDS
from rollout.ledger.ledger import Ledger


class Clocked(NamedTuple):
    ledger: Ledger
    wait: Callable[[float], None]


@pytest.fixture
async def clocked(tmp_path: Path) -> AsyncIterator[Clocked]:
    now = [1_000_000.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    ledger = await Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}", clock=lambda: now[0])
    await ledger.project("p")
    yield Clocked(ledger, wait)
    await ledger.close()


async def test_a_deleted_key_is_never_made_again(clocked: Clocked) -> None:
    """Its secret finds nothing, no list has it, and making a key of it is refused."""
    ledger, _ = clocked
    key = await ledger.create_key("tg-secret", project="p", scopes=["infer"])
    assert await ledger.key(key.id) == key
    await ledger.delete_key(key.id)
    assert await ledger.key(key.id) is None
    assert await ledger.keys() == []
    with pytest.raises(KeyDeleted):
        await ledger.create_key("tg-secret", project="p", scopes=["infer"])


async def test_a_key_is_deleted_in_its_own_project_only(clocked: Clocked) -> None:
    """With a project named, keys of others are not there."""
    ledger, _ = clocked
    key = await ledger.create_key("tg-secret", project="p", scopes=["infer"])
    assert not await ledger.delete_key(key.id, project="q")
    assert await ledger.delete_key(key.id, project="p")


async def test_a_repeatable_call_is_remembered_for_a_week(clocked: Clocked) -> None:
    """Within a week the same call has the same body; then it is forgotten."""
    ledger, wait = clocked
    await ledger.remember_call("call", body_digest="a", retry_key="k")
    await ledger.remember_call("call", body_digest="a", retry_key="k")
    with pytest.raises(RetryMismatch):
        await ledger.remember_call("call", body_digest="b", retry_key="k")
    wait(REPEATABLE_SECONDS + 1)
    await ledger.remember_call("another", body_digest="a", retry_key="k2")
    await ledger.remember_call("call", body_digest="b", retry_key="k")


async def test_settings_of_a_project_are_changed_one_by_one(clocked: Clocked) -> None:
    """A setting that is not named stays, and a new project has the defaults."""
    ledger, _ = clocked
    private = await ledger.configure_project("q", {"private_prefix_cache": True})
    apart = await ledger.configure_project("q", {"trains": False})
    assert (private.trains, private.private_prefix_cache) == (True, True)
    assert (apart.trains, apart.private_prefix_cache) == (False, True)
    assert await ledger.find_project("q") == apart
    assert await ledger.find_project("none") is None
