"""The lease of a call that may be repeated is renewed while its turn runs, and no longer."""

import asyncio
from typing import Any

import pytest

from gateway.turn.idempotency import RunningTurns
from rollout.episode.attempt import Attempt


async def test_every_running_turn_keeps_its_lease() -> None:
    """All that run are renewed together, and one that has ended is not renewed again."""
    turns, store, ends = RunningTurns(0.01), Renewals(is_wanted=False), {}
    calls = {}
    for name in ("ep_0", "ep_1", "ep_2"):
        ends[name] = asyncio.Event()
        calls[name] = asyncio.create_task(turns.take(work(ends[name], []), name, Attempt(), store))
    await store.until_renewed("ep_0", "ep_1", "ep_2")
    ends["ep_0"].set()
    await calls["ep_0"]
    store.renewed.clear()
    await store.until_renewed("ep_1", "ep_2")
    assert "ep_0" not in store.renewed
    for end in ends.values():
        end.set()
    await asyncio.gather(*calls.values())
    await turns.close()


@pytest.mark.parametrize("is_wanted", [True, False])
async def test_a_turn_survives_its_client_while_a_repeat_waits(is_wanted: bool) -> None:
    """Without its client it goes on if a repeat asks for its reply, and is cancelled otherwise."""
    turns, store, end = RunningTurns(), Renewals(is_wanted=is_wanted), asyncio.Event()
    outcome: list[str] = []
    call = asyncio.create_task(turns.take(work(end, outcome), "ep_0", Attempt(), store))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await store.until_renewed("ep_0")
    if is_wanted:
        end.set()
    async with asyncio.timeout(10):
        while not outcome:
            await asyncio.sleep(0.001)
    assert outcome == ["done" if is_wanted else "cancelled"]
    await turns.close()


async def test_the_store_is_told_which_attempts_have_begun() -> None:
    """One that waits for another attempt at its call has no lease, so none may be written for it."""
    turns, store, end = RunningTurns(0.01), Renewals(is_wanted=False), asyncio.Event()
    calls = [
        asyncio.create_task(turns.take(work(end, []), id_, Attempt(id_, "r"), store))
        for id_ in ("sampled", "waiting")
    ]
    turns.begun(Attempt("sampled", "r"))
    await store.until_renewed("sampled", "waiting")
    end.set()
    await asyncio.gather(*calls)
    await turns.close()

    assert store.begun == {"sampled": True, "waiting": False}


class Renewals:
    """Stands for a store in which a repeat of each call waits, or none."""

    def __init__(self, *, is_wanted: bool) -> None:
        self.renewed: set[str] = set()
        self.begun: dict[str, bool] = {}
        self._is_wanted = is_wanted
        self._one_more = asyncio.Event()

    async def __call__(self, episode_id: str, attempt: Attempt, *, has_begun: bool) -> bool:
        self.begun[attempt.id] = has_begun
        self.renewed.add(episode_id)
        self._one_more.set()
        return self._is_wanted

    async def until_renewed(self, *episodes: str) -> None:
        async with asyncio.timeout(10):
            while not self.renewed.issuperset(episodes):
                self._one_more.clear()
                await self._one_more.wait()


async def work(end: asyncio.Event, outcome: list[str]) -> Any:
    """A turn that samples until it is told to end."""
    try:
        await end.wait()
    except asyncio.CancelledError:
        outcome.append("cancelled")
        raise
    outcome.append("done")
