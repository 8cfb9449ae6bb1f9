"""A place to watch a supervisor at work from."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.stack.process import Launch, ProcessSpec, ProcessStatus
from deploy.stack.supervisor import Backoff, Supervisor
from deploy.stack.waiting import poll_until
from rollout.ready_file import ReadyFile

CHILD = Path(__file__).with_name("child.py")
PATIENCE_SECONDS = 30.0


def ends(pid: int | None) -> bool:
    """Whether the process is gone, or goes soon; a zombie counts as gone."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


class Stage:
    """A directory with children, their journal, and a way to wait until the supervisor says something of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.statuses: dict[str, ProcessStatus] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def journal(self) -> list[str]:
        return (self.directory / "journal").read_text().splitlines()

    def spec(
        self, name: str, *flags: str, after: tuple[str, ...] = (), stage: int = 0, **limits: float
    ) -> ProcessSpec:
        ready_file = ReadyFile.of(name, self.directory)
        command = (sys.executable, str(CHILD), "--name", name, "--directory", str(self.directory))

        async def launch() -> Launch:
            ready_file.clear()
            return Launch((*command, *flags))

        return ProcessSpec(name, launch, ready_file.is_written, after=after, stage=stage, **limits)

    def supervisor(self, *specs: ProcessSpec) -> Supervisor:
        return Supervisor(
            specs,
            logs=self.directory,
            record=self._record,
            backoff=Backoff(first=0.02, longest=0.1),
            probe_seconds=0.05,
        )

    async def until(self, condition: Callable[[dict[str, ProcessStatus]], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: condition(self.statuses))

    async def until_journal(self, line: str, count: int) -> None:
        """A child's line is the only sign that it has come so far."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await poll_until(lambda: asyncio.sleep(0, self.journal.count(line) == count))

    def _record(self, statuses: list[ProcessStatus]) -> None:
        self.statuses = {status.name: status for status in statuses}
        task = asyncio.create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
