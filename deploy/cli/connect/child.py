"""The user's own command, run in the foreground as if it had been started without us.

It shares the terminal. What a terminal sends on Ctrl-C goes to all processes in its foreground, so only signals that came to
us alone are passed on. Signals are waited for, not handled: none is lost between two calls.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.errors import CommandMissing

STOPS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
PASSED_ON = STOPS | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH}
FROM_KERNEL = 128  # SI_KERNEL: the terminal sent it, to the child too


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int  # its exit code; 128 and the signal that ended it
    was_stopped: bool  # somebody asked it to stop


def run_child(command: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run a command to its end. Raises CommandMissing."""
    awaited = PASSED_ON | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        child = _start(command, environment, before)
        was_stopped = False
        while child.poll() is None:
            # A child that ended between the two calls has left its signal to be found here.
            info = signal.sigwaitinfo(awaited)
            number = signal.Signals(info.si_signo)
            if number is signal.SIGCHLD:
                continue
            was_stopped |= number in STOPS
            if info.si_code != FROM_KERNEL:
                child.send_signal(number)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = child.returncode
    return Ended(128 - code if code < 0 else code, was_stopped or -code in STOPS)


def _start(
    command: Sequence[str], environment: Mapping[str, str], mask: set[signal.Signals] | set[int]
) -> "subprocess.Popen[bytes]":
    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        return subprocess.Popen(
            command,
            env=dict(environment),
            preexec_fn=unblock,  # noqa: PLW1509 - no thread runs in this process
        )
    except OSError as error:
        raise CommandMissing(
            f"{command[0]} cannot be started: {os.strerror(error.errno or 0)}; check its name after --"
        ) from error
