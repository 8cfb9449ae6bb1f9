"""Runs one answer and its tests; started as a script by `sandbox.py`, with the task on standard input."""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

MIB = 2**20


def main() -> None:
    task: dict[str, Any] = json.load(sys.stdin)
    sys.stdin.close()
    if task["user"] is not None:
        become(task["user"])
    restrict(task["limits"])
    pipe = int(sys.argv[1])
    # The code's own module; a block under `if __name__ == "__main__"` is not part of an answer.
    names: dict[str, object] = {"__name__": "answer"}
    exec(compile(task["code"], "answer.py", "exec"), names)  # noqa: S102 - what a sandbox is for
    for number, test in enumerate(task["tests"]):
        try:
            exec(compile(test, f"test_{number}.py", "exec"), names)  # noqa: S102
        except BaseException as error:
            sys.stderr.write(f"test {number}: {type(error).__name__}: {error}\n")
        else:
            os.write(pipe, f"{task['word']}\n".encode())


def restrict(limits: dict[str, Any]) -> None:
    cap(resource.RLIMIT_CPU, limits["cpu_seconds"])
    cap(resource.RLIMIT_AS, limits["memory_mib"] * MIB)
    cap(resource.RLIMIT_FSIZE, limits["file_mib"] * MIB)
    cap(resource.RLIMIT_NOFILE, limits["open_files"])
    cap(resource.RLIMIT_NPROC, running() + limits["processes"])
    cap(resource.RLIMIT_CORE, 0)


def cap(kind: int, most: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    lower = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (lower, lower))


def running() -> int:
    """Threads of our user: the kernel counts them all against the limit."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.getuid():
                count += len(list((process / "task").iterdir()))
        except OSError:  # it has ended
            continue
    return count


def become(user: int) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


if __name__ == "__main__":
    main()
