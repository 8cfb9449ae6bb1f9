"""A worker that hangs is killed; one that is slow, or that a signal has stopped, is not."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator

import psutil
import pytest

from gateway.workers.channel import Ask, Channel, Reading, Ready
from gateway.workers.process import WorkerProcess
from gateway.workers.watch import HUNG_LOOKS, watch

SECONDS = 0.01
SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


class Worker:
    """A process that sleeps, and the test in its place at the channel to the parent."""

    def __init__(self, seen: WorkerProcess, channel: Channel) -> None:
        self.seen = seen
        self.num_asked = 0
        self._channel = channel

    async def answer(self, *, every: int | None) -> None:
        """Answer every so many questions, or none; count all."""
        self._channel.send(Ready())
        async for message in self._channel.messages():
            assert isinstance(message, Ask)
            self.num_asked += 1
            if every and self.num_asked % every == 0:
                self._channel.send(Reading(message.id, ()))

    async def until_asked(self, count: int) -> None:
        async with asyncio.timeout(30):
            while self.num_asked < count:
                await asyncio.sleep(SECONDS)

    async def until_ended(self) -> None:
        async with asyncio.timeout(30):
            while psutil.pid_exists(self.seen.pid):  # until it is waited for, too
                await asyncio.sleep(SECONDS)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    parents_end, own_end = socket.socketpair()
    process = await asyncio.create_subprocess_exec(*SLEEP)
    seen = WorkerProcess(process, await Channel.open(parents_end), place=0)
    channel = await Channel.open(own_end)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(seen.follow(lambda *_: None))
        yield Worker(seen, channel)
        seen.kill()
        await channel.close()
        await following


async def test_a_worker_that_answers_nothing_is_killed(worker: Worker) -> None:
    """After as many questions as a minute has."""
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(worker.answer(every=None))
        await watch(worker.seen, look_seconds=SECONDS, answer_seconds=SECONDS)
        await worker.until_ended()
        answering.cancel()
    assert worker.num_asked == HUNG_LOOKS


async def test_a_worker_that_answers_now_and_then_is_left_alone(worker: Worker) -> None:
    """One answer in time begins the count anew, whatever was lost before it."""
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(worker.answer(every=3))
        watching = tasks.create_task(
            watch(worker.seen, look_seconds=SECONDS, answer_seconds=5 * SECONDS)
        )
        await worker.until_asked(2 * HUNG_LOOKS)
        assert not watching.done()
        for task in (answering, watching):
            task.cancel()


async def test_a_worker_that_a_signal_stopped_is_waited_for(worker: Worker) -> None:
    """It keeps its sockets and answers when it goes on."""
    process = psutil.Process(worker.seen.pid)
    process.send_signal(signal.SIGSTOP)
    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(worker.answer(every=None))
        watching = tasks.create_task(
            watch(worker.seen, look_seconds=SECONDS, answer_seconds=SECONDS)
        )
        await worker.until_asked(2 * HUNG_LOOKS)
        assert not watching.done()
        for task in (answering, watching):
            task.cancel()
    assert process.status() == psutil.STATUS_STOPPED
