"""`turngate keys`: who may use the gateway."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deploy.cli.output import Output
from deploy.data_directory import DataDirectory, read_json
from deploy.errors import NotRunning
from deploy.gateway_client import AGENT_SCOPES, GatewayClient
from deploy.secrets import Secrets
from deploy.settings import load_settings
from deploy.state import State

app = typer.Typer(help="Create, list and delete API keys.", no_args_is_help=True)

DataDir = Annotated[Path | None, typer.Option(help="default: ./.turngate")]
Gateway = Annotated[
    str | None, typer.Option(help="its address; that of the running stack by default")
]
AdminKey = Annotated[
    str | None,
    typer.Option(envvar="TURNGATE_GATEWAY_ADMIN_KEY", help="that of the running stack by default"),
]
COLUMNS = ("id", "name", "project", "scopes")


@app.command()
def create(
    context: typer.Context,
    *,
    project: str = "default",
    name: str = "agent",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="infer, reward, read, admin; repeatable; all but admin by default"),
    ] = None,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    admin_key: AdminKey = None,
) -> None:
    """Make a key. It is shown once and stored hashed."""
    created = _ask(
        data_dir,
        gateway,
        admin_key,
        lambda http: http.create_key(project, name=name, scopes=tuple(scope or AGENT_SCOPES)),
    )
    context.obj.result(created, str(created["key"]))


@app.command("list")
def list_keys(
    context: typer.Context,
    *,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    admin_key: AdminKey = None,
) -> None:
    """List the keys, without their secret part."""
    keys = _ask(data_dir, gateway, admin_key, lambda http: http.keys())
    table = Table(*COLUMNS)
    for key in keys["data"]:
        table.add_row(*(_text(key.get(column)) for column in COLUMNS))
    context.obj.result(keys, table)


@app.command()
def delete(
    context: typer.Context,
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    data_dir: DataDir = None,
    gateway: Gateway = None,
    admin_key: AdminKey = None,
) -> None:
    """Revoke a key at once."""
    output: Output = context.obj
    output.result(
        _ask(data_dir, gateway, admin_key, lambda http: http.delete_key(key_id)),
        f"deleted {key_id}",
    )


def _ask(
    data_dir: Path | None,
    gateway: str | None,
    admin_key: str | None,
    question: Callable[[GatewayClient], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        async with GatewayClient(*_address(data_dir, gateway, admin_key)) as client:
            return await question(client)

    return asyncio.run(ask())


def _address(data_dir: Path | None, gateway: str | None, admin_key: str | None) -> tuple[str, str]:
    """Where the gateway is and the key to it: as given, else as the running stack wrote down."""
    directory = DataDirectory((data_dir or load_settings(os.environ).data_dir).resolve())
    if gateway is None:
        if directory.owner() is None:
            raise NotRunning(f"nothing runs on {directory.root}; start it, or name a --gateway")
        gateway = State.parse(read_json(directory.state)).gateway
    return gateway.removesuffix("/").removesuffix("/v1"), admin_key or Secrets.load(
        directory
    ).admin_key


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
