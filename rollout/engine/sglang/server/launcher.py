"""Check the arguments, start SGLang, and end all of its processes.

A signal makes SGLang wait for its requests: it polls every five seconds and never ends while a request is paused. So it
runs in a session of its own, which this process ends at once. Exit codes: 0 stopped by a signal, 1 SGLang failed (its
log has the reason), 2 the arguments were refused.
"""

import ctypes
import ipaddress
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress

from rollout import logs
from rollout.engine.sglang.server import arguments as command_line
from rollout.engine.sglang.server import loadable_model

AWAITED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1

log = logging.getLogger("rollout.engine_server")


class StartRefused(Exception):
    """The command line cannot be served; the message says why."""


def main(argv: Sequence[str]) -> int:
    """Serve until a signal stops it."""
    logs.configure()
    arguments = command_line.parse(argv)
    try:
        _check_port(arguments.host, arguments.port)
        _check_admin_key(arguments)
        loadable_model.check(arguments.model)
    except (StartRefused, loadable_model.ModelUnusable) as refusal:
        log.error("%s", refusal)
        return 2
    # SGLang does not delete its sockets in the temporary directory.
    directory = tempfile.mkdtemp(prefix="turngate-engine-")
    try:
        return _run(directory, argv)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(directory: str, argv: Sequence[str]) -> int:
    command = [sys.executable, "-m", "rollout.engine.sglang.server.server", *argv]
    environment = os.environ | {"TMPDIR": directory}
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    server = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
    )
    try:
        return _wait(server)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _die_with_parent() -> None:
    """In the child: SIGKILL when this process has ended for any reason; SGLang does the same for its workers."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)


def _wait(server: subprocess.Popen[bytes]) -> int:
    """Return when the server ends by itself, which is a failure, or when a signal arrives."""
    while server.poll() is None:
        received = signal.Signals(signal.sigwait(AWAITED))
        if received is not signal.SIGCHLD:
            log.info("engine ending on %s", received.name)
            return 0
    log.error("SGLang ended with code %d; its last lines above say why", server.returncode)
    return 1


def _check_port(host: str, port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise StartRefused(f"cannot listen on {host}:{port}: {error}") from error


def _check_admin_key(arguments: Namespace) -> None:
    name = arguments.admin_key_env
    if name is None and not _is_loopback(arguments.host):
        raise StartRefused(
            f"--host {arguments.host} lets other machines use this engine; give it a key with --admin-key-env"
        )
    if name is not None and not os.environ.get(name):
        raise StartRefused(f"--admin-key-env: the environment variable {name} is not set")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
