"""Runs code that a model wrote, in a process with limits.

What holds everywhere: a fresh directory, an empty environment, and limits on wall time, CPU time, memory, the size of files and the
number of open files. Where Linux allows it, which `isolation()` shows: no network, no other process in sight, and no process that
outlives the run.

As root, the code runs with the rights of `nobody`, unless `nobody` cannot run this Python, as one below /root. The code then has
our rights, and a warning is logged.

What it is not: a wall against an attacker. The code reads every file that its user may read, shares the kernel with everything
else, and can find out how its own tests are counted. It keeps accidents in. For code that may be hostile, run the program that
grades inside a container or a virtual machine that holds nothing of value.
"""

import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from signal import SIGKILL
from typing import IO

CHILD = Path(__file__).with_name("sandbox_child.py")
MIB = 2**20
OUTPUT_SHOWN = 4096
NOBODY = 65534
END_SECONDS = 5.0  # in which a namespace ends after its first process was killed


@dataclass(frozen=True, slots=True)
class Limits:
    seconds: float = 10.0  # of wall time
    cpu_seconds: int = 10
    memory_mib: int = 1024  # address space, of each process
    file_mib: int = 16  # of each file
    open_files: int = 64
    processes: int = 128  # of the user that runs the code, beyond those it has


@dataclass(frozen=True, slots=True)
class Outcome:
    passed: int
    timed_out: bool
    output: str
    """The end of what the code printed."""


def run_tests(code: str, tests: Sequence[str], *, limits: Limits) -> Outcome:
    """Run the code, then each test after it, and count those that raise nothing."""
    word = secrets.token_hex(8)  # code that writes to the pipe by guessing passes no test
    task = {
        "code": code,
        "tests": list(tests),
        "word": word,
        "limits": asdict(limits),
        "user": _user(),
    }
    # The output has no name: the code cannot put another file in its place.
    with tempfile.TemporaryFile() as output:
        with tempfile.TemporaryDirectory(prefix="tg-sandbox-") as name:
            directory = Path(name)
            directory.chmod(0o777)
            timed_out, words = _run(json.dumps(task).encode(), directory, output, limits.seconds)
        size = os.fstat(output.fileno()).st_size
        shown = os.pread(output.fileno(), OUTPUT_SHOWN, max(0, size - OUTPUT_SHOWN))
    passed = words.split().count(word)
    return Outcome(min(passed, len(tests)), timed_out, shown.decode(errors="replace"))


def _run(task: bytes, directory: Path, output: IO[bytes], seconds: float) -> tuple[bool, str]:
    """Whether time ran out, and what the child wrote to its pipe."""
    reading, writing = os.pipe()
    command = [*isolation(), sys.executable, "-I", str(CHILD), str(writing)]
    with os.fdopen(reading, "rb") as pipe:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={"PATH": os.defpath, "HOME": str(directory), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)
        timed_out = False
        try:
            process.communicate(task, timeout=seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            _kill(process)
        os.set_blocking(reading, False)  # a process that left the group may hold the other end
        return timed_out, (pipe.read() or b"").decode(errors="replace")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """The namespace through its first process, which takes all others with it; then the process group."""
    if "--pid" in isolation():
        for child in _children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _children(process_id: int) -> list[int]:
    """Of `unshare`, the first process of the namespace: the code may have left the process group."""
    try:
        listed = Path(f"/proc/{process_id}/task/{process_id}/children").read_text()
    except OSError:  # it has ended
        return []
    return [int(child) for child in listed.split()]


@cache
def _user() -> int | None:
    """The user that the code runs as; None for our own."""
    if os.geteuid() != 0:
        return None
    command = [sys.executable, "-I", "-c", "import json, resource"]
    try:
        subprocess.run(
            command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=True
        )
    except (OSError, subprocess.SubprocessError):
        logging.getLogger(__name__).warning(
            "the code of answers runs as root, because the user nobody cannot run %s; "
            "grade as an ordinary user, or with a Python that every user may read",
            sys.executable,
        )
        return None
    return NOBODY


@cache
def isolation() -> tuple[str, ...]:
    """The command that puts a process into namespaces of its own, as far as this machine allows; empty if it does not."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    apart = ("--net", "--pid", "--fork", "--kill-child")
    for flags in ((*apart, "--mount-proc"), apart, ("--net",)):
        command = (unshare, *user, *flags, "--")
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return ()
