"""One child process of the supervisor: how it is started, when it is ready, how it is stopped.

Each child leads a process group of its own, so that the processes it starts end with it. If the supervisor is killed, the
kernel sends the child SIGTERM.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import IO

import psutil

from deploy.errors import StartFailed
from deploy.stack.waiting import poll_until

LOG_TAIL_LINES = 15
# prctl(2): the signal this process gets when its parent dies.
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Launch:
    """What to execute in one start; a restarted engine may get a newer policy."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    name: str
    launch: Callable[[], Awaitable[Launch]]
    is_ready: Callable[[], Awaitable[bool]]
    after: tuple[
        str, ...
    ] = ()  # names of the processes that have to be ready before its first start
    needs: tuple[str, ...] = ()  # the same, before every start
    is_alive: Callable[[], Awaitable[bool]] | None = None  # one question, once it was ready
    spare: Launch | None = (
        None  # a process that is started early, and begins with a line on its standard input
    )
    hung_seconds: float = 20.0  # without an answer; then it is killed and restarted
    stage: int = 0  # the highest stage is stopped first
    knows_hangup: bool = False  # SIGHUP makes it start anew in parts; others would end by it
    ready_seconds: float = 120.0
    stop_seconds: float = 15.0  # from SIGTERM to SIGKILL


class ProcessState(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    name: str
    state: ProcessState
    pid: int | None
    started: float | None  # by the kernel's clock; with the pid it identifies one process
    restarts: int
    last_exit: int | None  # negative: the signal that ended it
    backoff_seconds: float = 0.0  # waited before its last restart
    why: str | None = None  # it was restarted, or continued


class Child:
    """The runs of one spec, one after another; they log to one file, or to our standard error if there is none."""

    def __init__(self, spec: ProcessSpec, log: Path | None) -> None:
        self.spec = spec
        self.log = log
        self.state = ProcessState.WAITING
        self.restarts = 0
        self.backoff_seconds = 0.0
        self.why: str | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._spare: asyncio.subprocess.Process | None = None
        self._started: float | None = None
        self._last_exit: int | None = None

    @property
    def status(self) -> ProcessStatus:
        runs = self._process is not None and self._process.returncode is None
        return ProcessStatus(
            name=self.spec.name,
            state=self.state,
            pid=self._process.pid if runs and self._process else None,
            started=self._started if runs else None,
            restarts=self.restarts,
            last_exit=self._last_exit,
            backoff_seconds=self.backoff_seconds,
            why=self.why,
        )

    @property
    def is_paused(self) -> bool:
        """Whether a signal has stopped it: it keeps its sockets and answers nobody."""
        with suppress(psutil.NoSuchProcess):
            pid = self.status.pid
            return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        return False

    async def start(self) -> None:
        try:
            launch = await self.spec.launch()
            with ExitStack() as stack:
                log = stack.enter_context(self.log.open("ab")) if self.log else sys.stderr
                self._process = self._take_spare() or await spawn(launch, output=log)
        except OSError as error:
            raise StartFailed(f"cannot start {self.spec.name}: {error}") from error
        self._started = start_time(self._process.pid)

    async def prepare_spare(self) -> None:
        """Start the process that the next start will use, if the specification has one."""
        if self.spec.spare is None or self._spare is not None or self.log is None:
            return
        with suppress(OSError), self.log.open("ab") as log:
            self._spare = await spawn(self.spec.spare, output=log, stdin=asyncio.subprocess.PIPE)

    def _take_spare(self) -> asyncio.subprocess.Process | None:
        spare, self._spare = self._spare, None
        if spare is None or spare.returncode is not None or spare.stdin is None:
            return None
        spare.stdin.write(b"start\n")
        return spare

    async def wait_ready(self) -> None:
        """Return when it is ready; raise StartFailed if it ends first or takes too long."""
        assert self._process is not None
        ended = asyncio.create_task(self._process.wait())
        ready = asyncio.create_task(poll_until(self.spec.is_ready))
        try:
            await asyncio.wait(
                {ended, ready},
                timeout=self.spec.ready_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if ready.done() and not ended.done():
                ready.result()
                return
            self._last_exit = self._process.returncode
            raise StartFailed(self._failure(ended=ended.done()))
        finally:
            for task in (ended, ready):
                task.cancel()
            await asyncio.gather(ended, ready, return_exceptions=True)

    async def wait_exit(self) -> int:
        assert self._process is not None
        self._last_exit = await self._process.wait()
        return self._last_exit

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and to those of its group."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def hang_up(self) -> None:
        """Pass SIGHUP on."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL to the whole process group after `stop_seconds`."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self.spec.stop_seconds)
        self.signal_group(signal.SIGKILL)
        self._last_exit = await process.wait()

    async def stop_spare(self) -> None:
        """End the spare process, which does nothing yet."""
        if self._spare is not None:
            with suppress(ProcessLookupError):
                self._spare.kill()
            await self._spare.wait()
            self._spare = None

    def _failure(self, *, ended: bool) -> str:
        assert self._process is not None
        what = (
            f"ended with code {self._process.returncode} before it was ready"
            if ended
            else f"was not ready after {self.spec.ready_seconds:g} s"
        )
        if self.log is None:
            return f"{self.spec.name} {what}; its output above says why"
        return f"{self.spec.name} {what}; the end of {self.log}:\n{tail(self.log)}"


async def spawn(
    launch: Launch, *, output: IO[bytes] | IO[str], stdin: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *launch.command,
        env=dict(launch.environment),
        stdin=stdin,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=_end_with_parent(),
    )


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def start_time(pid: int) -> float | None:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).create_time()
    return None


def _end_with_parent() -> Callable[[], object] | None:
    """Run in the child before it becomes the program: ask for SIGTERM when the parent dies."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGTERM)
