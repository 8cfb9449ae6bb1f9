"""The supervisor against small real processes."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import StartFailed
from deploy.stack.process import Launch, ProcessSpec, ProcessState, ProcessStatus
from deploy.stack.supervisor import Backoff, Supervisor
from deploy.stack.waiting import poll_until
from tests.deploy.stage import Stage, ends


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[None]:
    """Supervise from when all are ready to the end of the block."""
    ready = asyncio.Event()

    async def announce() -> None:
        ready.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(announce))
        await ready.wait()
        try:
            yield
        finally:
            supervisor.stop()


async def test_processes_start_after_those_they_need_and_stop_stage_by_stage(stage: Stage) -> None:
    """An engine waits for the gateway at the start, and outlives it at the end."""
    store = stage.spec("store")
    engine = stage.spec("engine", after=("gateway",), stage=1)
    gateway = stage.spec("gateway", after=("store",), stage=2)

    async with running(stage.supervisor(store, engine, gateway)):
        pass

    starts = ["start store", "start gateway", "start engine"]
    assert stage.journal == [*starts, "stop gateway", "stop engine", "stop store"]
    assert {status.state for status in stage.statuses.values()} == {ProcessState.STOPPED}


async def test_a_crashed_process_is_restarted_and_counted(stage: Stage) -> None:
    """A killed child comes back with another pid, and its neighbor is left alone."""
    async with running(stage.supervisor(stage.spec("gateway"), stage.spec("engine"))):
        before = dict(stage.statuses)
        os.kill(before["engine"].pid or 0, signal.SIGKILL)
        await stage.until(
            lambda now: now["engine"].restarts == 1 and now["engine"].state is ProcessState.READY
        )
        after = dict(stage.statuses)

    assert after["engine"].pid not in {None, before["engine"].pid}
    assert after["engine"].last_exit == -signal.SIGKILL
    assert after["gateway"] == before["gateway"]


async def test_a_process_that_crashed_once_has_a_spare_for_the_next_time(stage: Stage) -> None:
    """It is started early and begins when it is needed, because imports alone can take ten seconds."""
    spec = stage.spec("trainer")
    spare = replace(await spec.launch(), command=(*(await spec.launch()).command, "--wait"))
    async with running(stage.supervisor(replace(spec, spare=spare))):
        for crashes in (1, 2):
            os.kill(stage.statuses["trainer"].pid or 0, signal.SIGKILL)
            await stage.until(lambda now, crashes=crashes: is_back(now["trainer"], crashes))
            await stage.until_journal("spare trainer", crashes)

    assert stage.journal[:5] == [
        "start trainer",
        "start trainer",
        "spare trainer",
        "start trainer",
        "spare trainer",
    ]
    assert stage.journal[-1] == "stop trainer"


async def test_a_process_that_keeps_crashing_is_tried_until_it_runs(stage: Stage) -> None:
    """Failed restarts are counted and repeated; the process is back once its cause is gone."""
    broken = stage.directory / "engine.broken"
    async with running(stage.supervisor(stage.spec("engine"))):
        broken.touch()
        os.kill(stage.statuses["engine"].pid or 0, signal.SIGKILL)
        await stage.until(lambda now: now["engine"].restarts >= 3)
        broken.unlink()
        await stage.until(lambda now: now["engine"].state is ProcessState.READY)

    assert stage.statuses["engine"].restarts >= 3


async def test_a_launch_that_the_disk_refuses_is_tried_again(stage: Stage) -> None:
    """Without room for its files a process cannot restart; its neighbor stays up, and it is back once there is room."""
    engine, full = stage.spec("engine"), stage.directory / "full"

    async def launch() -> Launch:
        if full.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await engine.launch()

    async with running(stage.supervisor(stage.spec("gateway"), replace(engine, launch=launch))):
        gateway = stage.statuses["gateway"]
        full.touch()
        os.kill(stage.statuses["engine"].pid or 0, signal.SIGKILL)
        await stage.until(lambda now: now["engine"].restarts >= 2)
        full.unlink()
        await stage.until(lambda now: now["engine"].state is ProcessState.READY)
        assert stage.statuses["gateway"] == gateway


async def test_a_process_that_a_signal_stopped_goes_on(stage: Stage) -> None:
    """It is continued with the same pid, because a restart would lose what it was doing."""
    async with running(stage.supervisor(stage.spec("gateway"))):
        before = stage.statuses["gateway"]
        os.kill(before.pid or 0, signal.SIGSTOP)
        await stage.until(lambda now: now["gateway"].why is not None)
        after = stage.statuses["gateway"]

    assert after.why == "was stopped by a signal, and continued"
    assert (after.pid, after.restarts, after.state) == (before.pid, 0, ProcessState.READY)
    assert stage.journal[-1] == "stop gateway"


async def test_a_process_that_answers_nothing_is_killed_and_restarted(stage: Stage) -> None:
    """Its clients would wait as long as it lives; the status says why it was restarted."""
    hangs = asyncio.Event()
    spec = replace(
        stage.spec("gateway"),
        is_alive=lambda: asyncio.sleep(0, not hangs.is_set()),
        hung_seconds=0.2,
    )
    async with running(stage.supervisor(spec)):
        before = stage.statuses["gateway"]
        hangs.set()
        await stage.until(lambda now: now["gateway"].restarts == 1)
        hangs.clear()
        await stage.until(lambda now: now["gateway"].state is ProcessState.READY)
        after = stage.statuses["gateway"]

    assert after.why == "did not answer for 0.2 s"
    assert after.last_exit == -signal.SIGKILL
    assert after.pid != before.pid


async def test_a_start_that_fails_for_want_of_a_crashed_process_is_tried_again(
    stage: Stage,
) -> None:
    """The first start of a gateway survives a crash of the store beneath it."""
    needed = stage.directory / "gateway.needed"
    store = stage.spec("store")
    gateway = stage.spec("gateway", "--needs", str(needed), after=("store",))
    attempts = 0

    async def launch() -> Launch:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            os.kill(stage.statuses["store"].pid or 0, signal.SIGKILL)
            await stage.until(lambda now: now["store"].restarts == 1)
        else:
            needed.touch()
        return await gateway.launch()

    async with running(stage.supervisor(store, replace(gateway, launch=launch))):
        assert stage.statuses["gateway"].state is ProcessState.READY

    assert attempts == 2
    assert stage.journal.count("start gateway") == 2


async def test_a_process_that_ends_before_it_is_ready_fails_the_start(stage: Stage) -> None:
    """The error carries the process's own words, and what had started is stopped."""
    (stage.directory / "gateway.broken").touch()
    store, gateway = stage.spec("store"), stage.spec("gateway", after=("store",), stage=1)

    with pytest.raises(StartFailed, match=r"gateway ended with code 1(.|\n)*gateway is broken"):
        await stage.supervisor(store, gateway).run(announce=never)

    assert stage.journal[-1] == "stop store"


async def test_a_process_that_is_not_ready_in_time_fails_the_start(stage: Stage) -> None:
    """A deadline is part of the specification."""
    spec = stage.spec("engine", "--never-ready", ready_seconds=0.5)

    with pytest.raises(StartFailed, match=r"engine was not ready after 0\.5 s"):
        await stage.supervisor(spec).run(announce=never)

    assert stage.statuses["engine"].pid is None


async def test_a_program_that_does_not_exist_fails_the_start(stage: Stage) -> None:
    """The operating system's reason is in the message."""

    async def launch() -> Launch:
        return Launch((str(stage.directory / "missing"),))

    async def is_ready() -> bool:
        return True

    spec = ProcessSpec("engine", launch, is_ready)
    with pytest.raises(StartFailed, match=r"cannot start engine: .*No such file"):
        await stage.supervisor(spec).run(announce=never)


async def test_stop_before_ready_ends_the_start(stage: Stage) -> None:
    """SIGTERM during a slow start stops what is there and announces nothing."""
    supervisor = stage.supervisor(stage.spec("engine", "--never-ready"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(announce=never))
        await stage.until(lambda now: "engine" in now and now["engine"].pid is not None)
        supervisor.stop()

    assert stage.statuses["engine"].state is ProcessState.STOPPED


async def test_a_process_that_ignores_sigterm_is_killed_with_all_it_started(stage: Stage) -> None:
    """After its time to stop, the whole process group goes."""
    spec = stage.spec("engine", "--deaf", "--grandchild", stop_seconds=0.3)
    async with running(stage.supervisor(spec)):
        grandchild = int((stage.directory / "grandchild").read_text())

    assert stage.statuses["engine"].last_exit == -signal.SIGKILL
    assert ends(grandchild)


def test_the_wait_before_a_restart_doubles_up_to_a_limit() -> None:
    """Backoff is exponential and bounded, however often a process crashes."""
    backoff = Backoff(first=0.5, longest=30.0)

    assert [backoff.seconds(n) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]
    assert backoff.seconds(10) == backoff.seconds(10_000) == 30.0


def test_no_wait_before_a_restart_is_longer_than_ten_seconds() -> None:
    """However many crashes come in a row, and waits of processes that crashed together differ."""
    waits = [Backoff().jittered(crashes) for crashes in range(1, 200)]

    assert max(waits) <= 10.0
    assert len(set(waits)) == len(waits)


def is_back(status: ProcessStatus, restarts: int) -> bool:
    return status.restarts == restarts and status.state is ProcessState.READY


async def never() -> None:
    raise AssertionError("announced a stack that is not ready")


async def test_a_poll_waits_until_the_condition_holds() -> None:
    """A plain function that returns an awaitable is polled too."""
    answers = iter([False, False, True])

    assert await poll_until(lambda: asyncio.sleep(0, next(answers)))
    assert next(answers, None) is None
