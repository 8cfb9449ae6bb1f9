"""One timer gives every wait its own deadline."""

import asyncio
import time

import pytest

from rollout.engine.http.waiter import Waiter


async def test_each_wait_has_its_own_deadline() -> None:
    """A shorter one after a longer one, and a longer one after a shorter one."""
    waiter = Waiter()
    for seconds in (30.0, 0.05, 0.2):
        asyncio.get_running_loop().call_later(0.01, waiter.wake)
        await waiter.wait(seconds)
    for seconds in (0.05, 0.2, 0.1):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await waiter.wait(seconds)
        assert seconds - 0.01 < time.monotonic() - started < seconds + 5


async def test_a_wait_without_a_deadline_outlasts_the_timer_of_the_one_before() -> None:
    """The timer finds a later deadline, or none."""
    waiter = Waiter()
    asyncio.get_running_loop().call_later(0.01, waiter.wake)
    await waiter.wait(0.05)
    asyncio.get_running_loop().call_later(0.15, waiter.wake)
    await waiter.wait()


async def test_waking_nobody_changes_nothing() -> None:
    """Neither before a wait, nor after one was cancelled."""
    waiter = Waiter()
    waiter.wake()
    waiting = asyncio.ensure_future(waiter.wait(30))
    await asyncio.sleep(0)
    waiting.cancel()
    waiter.wake()
    await asyncio.gather(waiting, return_exceptions=True)
    with pytest.raises(TimeoutError):
        await waiter.wait(0.01)
    waiter.close()
