"""A failing loop: reported, counted, and started again; others do not notice."""

import asyncio
import logging

import pytest

from rollout.restarted_loop import run_restarted


async def test_a_loop_that_fails_starts_again_and_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every failure is logged with its traceback and counted under the loop's name, and the work goes on."""
    runs = 0
    goes_on = asyncio.Event()
    counted: list[str] = []

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:
            raise ValueError(f"failure {runs}")
        goes_on.set()
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR):
        loop = asyncio.create_task(run_restarted("settler", work, on_failure=counted.append))
        async with asyncio.timeout(30):
            await goes_on.wait()
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)

    assert counted == ["settler", "settler"]
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["failure 1", "failure 2"]


async def test_a_loop_that_fails_does_not_end_its_neighbor() -> None:
    """In one task group a loop that always fails leaves the other one running; both end when they are cancelled."""
    rounds = 0
    enough = asyncio.Event()
    failed = asyncio.Event()

    async def fails() -> None:
        failed.set()
        raise RuntimeError("always")

    async def works() -> None:
        nonlocal rounds
        await failed.wait()
        while rounds < 100:
            rounds += 1
            await asyncio.sleep(0)
        enough.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(run_restarted("a", work)) for work in (fails, works)]
        await enough.wait()
        still_running = [not loop.done() for loop in loops]
        for loop in loops:
            loop.cancel()

    assert still_running == [True, True]
    assert rounds == 100
