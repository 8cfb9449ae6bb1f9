"""The processes that a figure needs: started, waited for, ended, and what they have used."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

CPU_CLOCK = 2  # of a process, as clock_getcpuclockid(3) builds it


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def process(
    command: Sequence[str], log: Path, directory: Path | None = None, **environment: str
) -> Iterator[int]:
    """The id of a process that lives as long as the block; it works in `directory`, by default in ours."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=directory,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(timeout=20)


def wait_for_port(port: int, log: Path, timeout_seconds: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of those it started that still run, in nanoseconds' resolution."""
    return sum(time.clock_gettime(~each << 3 | CPU_CLOCK) for each in family(pid))


def resident_bytes(pid: int) -> int:
    """Memory of a process and of those it started; pages that they share count once for each."""
    pages = (int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in family(pid))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def pin(pid: int, cores: Iterable[int]) -> None:
    """Let a process and everything below it run on these cores only."""
    for each in family(pid):
        for task in Path(f"/proc/{each}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # a thread that has ended meanwhile
                os.sched_setaffinity(int(task.name), cores)


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the same
                found += map(int, (task / "children").read_text().split())
    return found
