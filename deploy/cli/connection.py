"""How a command reaches a gateway: as told, or as the running stack wrote down."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.data_directory import DataDirectory, read_json
from deploy.errors import NotRunning
from deploy.gateway_api.gateway_client import GatewayClient
from deploy.settings import load_settings
from deploy.stack.secrets import ADMIN_KEY, Secrets
from deploy.stack.state import State

DataDir = Annotated[Path | None, typer.Option(help="default: ./.turngate")]
Gateway = Annotated[
    str | None, typer.Option(help="its address; that of the running stack by default")
]
AdminKey = Annotated[
    str | None,
    typer.Option(envvar=ADMIN_KEY, help="that of the running stack by default"),
]
ReadKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar=ADMIN_KEY,
        help="with the scope read; the admin key of the running stack by default",
    ),
]


def ask(
    question: Callable[[GatewayClient], Awaitable[dict[str, Any]]],
    *,
    data_dir: Path | None,
    gateway: str | None,
    key: str | None,
) -> dict[str, Any]:
    """Put a question to the gateway."""

    async def answer() -> dict[str, Any]:
        async with GatewayClient(*_address(data_dir, gateway, key)) as client:
            return await question(client)

    return asyncio.run(answer())


def _address(data_dir: Path | None, gateway: str | None, key: str | None) -> tuple[str, str]:
    directory = DataDirectory((data_dir or load_settings(os.environ).data_dir).resolve())
    if gateway is None:
        if directory.owner() is None:
            raise NotRunning(f"nothing runs on {directory.root}; start it, or name a --gateway")
        gateway = State.parse(read_json(directory.state)).gateway
    if key is None and not directory.secrets.exists():
        raise NotRunning(
            f"no stack of {directory.root} made a key; name one that the gateway knows"
        )
    root = gateway.removesuffix("/").removesuffix("/v1")
    return root, key or Secrets.load(directory).admin_key
