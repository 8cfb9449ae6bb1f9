"""`turngate status`: what runs, and how far the training is."""

import asyncio
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from deploy.data_directory import DataDirectory, read_json
from deploy.errors import GatewayRefused, NotRunning
from deploy.gateway_api.gateway_client import GatewayClient
from deploy.settings import load_settings
from deploy.stack.secrets import Secrets
from deploy.stack.state import State
from deploy.terminal import Output


def status(
    context: typer.Context,
    data_dir: Annotated[Path | None, typer.Option(help="default: ./.turngate")] = None,
) -> None:
    """Show the processes of a data directory, the policy it serves, the backlog and the training step."""
    output: Output = context.obj
    directory = DataDirectory((data_dir or load_settings(os.environ).data_dir).resolve())
    supervisor = directory.owner()
    if supervisor is None:
        raise NotRunning(f"nothing runs on {directory.root}; start it with `turngate up`")
    state = State.parse(read_json(directory.state))
    training = asyncio.run(training_of(state, directory))
    content = {
        "supervisor": supervisor,
        "data_dir": str(directory.root),
        "base_url": f"{state.gateway}/v1",
        "processes": [asdict(process) for process in state.processes],
        "training": training,
    }
    output.result(content, Group(process_table(state), training_table(training)))


async def training_of(state: State, directory: DataDirectory) -> dict[str, Any] | None:
    """None while the gateway does not answer: a status is most useful then."""
    try:
        async with GatewayClient(state.gateway, Secrets.load(directory).admin_key) as gateway:
            return await gateway.training()
    except GatewayRefused:
        return None


def process_table(state: State) -> Table:
    table = Table("process", "state", "pid", "restarts", "last exit", "last wait", "why")
    for process in state.processes:
        pid = str(process.pid or "")
        exit_code = "" if process.last_exit is None else str(process.last_exit)
        wait = f"{process.backoff_seconds:.1f} s" if process.restarts else ""
        row = (process.name, process.state, pid, str(process.restarts), exit_code, wait)
        table.add_row(*row, process.why or "")
    return table


def training_table(training: dict[str, Any] | None) -> Table:
    table = Table("training", "")
    for name, value in (training or {"gateway": "does not answer"}).items():
        table.add_row(name, str(value))
    return table
