"""Processes that outlived a killed supervisor, identified by pid and start time, so that no other process is stopped."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psutil

# A child ends by itself when its parent dies; this is how long it may take.
GRACE_SECONDS = 15.0
# The kernel's start time is exact; its conversion to seconds since 1970 is not.
CLOCK_SECONDS = 2.0


def find_orphans(state: dict[str, Any]) -> list[psutil.Process]:
    """The processes of a `state.json` that still run."""
    recorded = ((p.get("pid"), p.get("started")) for p in state.get("processes", []))
    found = (_process(pid, started) for pid, started in recorded if pid and started)
    return [process for process in found if process is not None]


def stop_orphans(processes: Iterable[psutil.Process], grace_seconds: float = GRACE_SECONDS) -> None:
    """End them, and the process groups that they lead."""
    processes = list(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=grace_seconds)


def _process(pid: int, started: float) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < CLOCK_SECONDS
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
