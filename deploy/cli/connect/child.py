"""The user's own command, run in the foreground as if it had been started without us.

It shares the terminal. What a terminal sends on Ctrl-C goes to all processes in its foreground, so only signals that came to
us alone are passed on. Signals are waited for, not handled: none is lost between two calls.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO

from deploy.errors import CommandMissing

STOPS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
PASSED_ON = STOPS | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
FROM_KERNEL = 128  # SI_KERNEL: the terminal sent it, to the child too
FOREVER = 1e9


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int  # its exit code; 128 and the signal that ended it
    was_stopped: bool  # somebody asked it to stop


@contextmanager
def stops_raised() -> Iterator[None]:
    """Raise SystemExit for a signal that comes while no child runs, so that what is open is released."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    ours = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    output: IO[bytes] | None = None,
    seconds: float = FOREVER,
) -> Ended:
    """Run a command to its end; without an `output` it writes where we do. Raises CommandMissing, TimeoutExpired."""
    awaited = PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        child = _start(command, environment, output=output, mask=before)
        was_stopped = _wait(child, awaited, seconds=seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = child.returncode
    return Ended(128 - code if code < 0 else code, was_stopped or -code in STOPS)


def _wait(
    child: "subprocess.Popen[bytes]", awaited: frozenset[signal.Signals], *, seconds: float
) -> bool:
    """Pass signals on until the child ends; whether one of them asked it to stop."""
    ends, was_stopped = time.monotonic() + seconds, False
    while child.poll() is None:
        # A child that ended between the two calls has left its signal to be found here.
        info = signal.sigtimedwait(awaited, max(0.0, ends - time.monotonic()))
        if info is None:
            child.kill()
            child.wait()
            raise subprocess.TimeoutExpired(child.args, seconds)
        number = signal.Signals(info.si_signo)
        if number is signal.SIGCHLD:
            continue
        was_stopped |= number in STOPS
        if info.si_code != FROM_KERNEL:
            child.send_signal(number)
    return was_stopped


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    output: IO[bytes] | None,
    mask: set[signal.Signals] | set[int],
) -> "subprocess.Popen[bytes]":
    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        return subprocess.Popen(
            command,
            env=dict(environment),
            stdout=output,
            preexec_fn=unblock,  # noqa: PLW1509 - no thread runs in this process
        )
    except OSError as error:
        raise CommandMissing(
            f"{command[0]} cannot be started: {os.strerror(error.errno or 0)}; check its name after --"
        ) from error
