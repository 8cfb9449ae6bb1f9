"""`turngate down`: stops the processes of `turngate up`, and returns when they have ended."""

import os
from pathlib import Path
from typing import Annotated

import psutil
import typer

from deploy.data_directory import DataDirectory, read_json
from deploy.errors import StopFailed
from deploy.settings import load_settings
from deploy.stack import orphans
from deploy.terminal import Output

# Running turns, a training step and a checkpoint are finished first.
DEFAULT_TIMEOUT_SECONDS = 180.0


def down(
    context: typer.Context,
    data_dir: Annotated[Path | None, typer.Option(help="default: ./.turngate")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait")] = DEFAULT_TIMEOUT_SECONDS,
) -> None:
    """Stop the stack of a data directory: trainer, gateway, engines, Redis."""
    output: Output = context.obj
    directory = DataDirectory((data_dir or load_settings(os.environ).data_dir).resolve())
    stopped = stop(directory, timeout)
    text = f"stopped (pid {stopped})" if stopped else f"nothing runs on {directory.root}"
    output.result({"stopped": stopped}, text)


def stop(directory: DataDirectory, timeout: float) -> int | None:
    """Return the pid of the supervisor that was stopped, if one ran; else stop processes that outlived a killed one."""
    pid = directory.owner()
    if pid is None:
        orphans.stop_orphans(orphans.find_orphans(read_json(directory.state)))
        return None
    try:
        supervisor = psutil.Process(pid)
        supervisor.terminate()
        supervisor.wait(timeout)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise StopFailed(
            f"pid {pid} is still stopping after {timeout:g} s; see {directory.logs}"
        ) from None
    return pid
