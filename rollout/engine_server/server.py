"""The engine server's main module: prepares the process, starts SGLang in it and ends it cleanly.

Exit codes: 0 told to stop, 1 SGLang failed (its traceback is in the log), 2 started wrongly.
"""

import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import torch

from rollout.engine_server import arguments as command_line
from rollout.engine_server import cpu, model_files

HAS_GPU = torch.cuda.is_available()

if __name__ in ("__main__", "__mp_main__") and not HAS_GPU:
    cpu.install()  # here and not in main(): a spawned worker imports this module and runs no main()

log = logging.getLogger("rollout.engine_server")


class StartRefused(Exception):
    """The command line cannot be served; the message says why."""


def main() -> int:
    """Serve until told to stop."""
    arguments = command_line.parse()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        port = _free_port(arguments.host, arguments.port)
        model_files.check(arguments.model)
        _check_admin_key(arguments)
    except (StartRefused, model_files.ModelUnusable) as refusal:
        log.error("%s", refusal)
        return 2
    with tempfile.TemporaryDirectory(prefix="turngate-engine-") as directory:
        os.environ["TMPDIR"] = directory  # SGLang leaves its sockets behind
        _end_on_signal(Path(directory))
        _serve(arguments, port)
    return 1


def _serve(arguments: Namespace, port: int) -> None:
    # SGLang's own health check would generate a token, and hang while the engine is paused for a swap.
    os.environ["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] = "0"
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sglang.srt.entrypoints.http_server import launch_server
    from sglang.srt.server_args import prepare_server_args

    device = () if HAS_GPU else cpu.ARGUMENTS
    # It logs all of its arguments, the admin key among them.
    logging.getLogger("sglang.srt.entrypoints.engine").addFilter(
        lambda record: not record.getMessage().startswith("server_args=")
    )
    server_args = prepare_server_args(
        command_line.sglang_arguments(arguments, port=port, device=device)
    )
    launch_server(server_args, launch_callback=lambda: _announce(arguments, port))


def _announce(arguments: Namespace, port: int) -> None:
    log.info("engine ready on %s:%d", arguments.host, port)
    if arguments.ready_file is not None:
        _write_whole(arguments.ready_file, json.dumps({"host": arguments.host, "port": port}))


def _write_whole(file: Path, text: str) -> None:
    """A reader sees all of it or nothing."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text)
    partial.replace(file)


def _free_port(host: str, port: int) -> int:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise StartRefused(f"cannot listen on {host}:{port}: {error.strerror}") from error


def _check_admin_key(arguments: Namespace) -> None:
    name = arguments.admin_key_env
    if name is not None and not os.environ.get(name):
        raise StartRefused(f"--admin-key-env: the environment variable {name} is not set")


def _end_on_signal(scratch: Path) -> None:
    """End the whole process tree on SIGTERM, SIGINT, or a worker's failure, which SGLang reports by SIGQUIT.

    SGLang's own way is to drain first: it polls every five seconds and never ends while a request is paused. Blocked
    signals reach nobody but the thread that waits for them, whatever handlers SGLang and uvicorn install later.
    """
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    threading.Thread(target=_wait_and_end, args=(signals, scratch), name="signals", daemon=True).start()


def _wait_and_end(signals: set[signal.Signals], scratch: Path) -> None:
    received = signal.Signals(signal.sigwait(signals))
    log.info("engine ending on %s", received.name)
    _kill_children()
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1 if received is signal.SIGQUIT else 0)


def _kill_children() -> None:
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=10)


if __name__ == "__main__":
    sys.exit(main())
