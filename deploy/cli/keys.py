"""`turngate keys`: the API keys of the gateway."""

from typing import Annotated

import typer
from rich.table import Table

from deploy.cli.connection import AdminKey, DataDir, Gateway, ask
from deploy.gateway_api.gateway_client import AGENT_SCOPES
from deploy.terminal import Output

app = typer.Typer(help="Create, list and delete API keys.", no_args_is_help=True)

Limit = Annotated[int | None, typer.Option(min=1, help="default: no limit")]
COLUMNS = ("id", "name", "project", "scopes")


@app.command()
def create(
    context: typer.Context,
    *,
    project: str = "default",
    name: str = "agent",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="infer, reward, read, observe, admin; repeatable; default: the first three"
        ),
    ] = None,
    expires_in_seconds: Annotated[
        int | None, typer.Option(min=1, help="default: until it is deleted")
    ] = None,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    max_concurrent: Limit = None,
    max_open_episodes: Limit = None,
    grammars_per_minute: Limit = None,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    admin_key: AdminKey = None,
) -> None:
    """Make a key. It is shown once and stored hashed."""
    bounds = {
        "expires_in_seconds": expires_in_seconds,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "max_concurrent": max_concurrent,
        "max_open_episodes": max_open_episodes,
        "grammars_per_minute": grammars_per_minute,
    }
    created = ask(
        lambda http: http.create_key(
            project,
            name=name,
            scopes=tuple(scope or AGENT_SCOPES),
            bounds=bounds,
        ),
        data_dir=data_dir,
        gateway=gateway,
        key=admin_key,
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
    keys = ask(lambda http: http.keys(), data_dir=data_dir, gateway=gateway, key=admin_key)
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
    """Delete a key; within a second every gateway refuses it."""
    output: Output = context.obj
    deleted = ask(
        lambda http: http.delete_key(key_id), data_dir=data_dir, gateway=gateway, key=admin_key
    )
    output.result(deleted, f"deleted {key_id}")


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
