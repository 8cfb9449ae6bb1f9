"""How a command reaches a gateway: by its options, or by what the running stack wrote into its data directory."""

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
    str | None, typer.Option(help="address of a gateway; default: the one of the running stack")
]
AdminKey = Annotated[
    str | None,
    typer.Option(envvar=ADMIN_KEY, help="default: the one of the running stack"),
]
ReadKey = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar=ADMIN_KEY,
        help="a key with the scope read; default: the admin key of the running stack",
    ),
]


def ask(
    question: Callable[[GatewayClient], Awaitable[dict[str, Any]]],
    *,
    data_dir: Path | None,
    gateway: str | None,
    key: str | None,
) -> dict[str, Any]:
    """Send one question to the gateway and return its answer."""

    async def answer() -> dict[str, Any]:
        async with GatewayClient(*address_of(data_dir, gateway, key)) as client:
            return await question(client)

    return asyncio.run(answer())


def address_of(data_dir: Path | None, gateway: str | None, key: str | None) -> tuple[str, str]:
    """The address of a gateway, without `/v1`, and the key to use there."""
    directory = DataDirectory((data_dir or load_settings(os.environ).data_dir).resolve())
    if gateway is None:
        if directory.owner() is None:
            raise NotRunning(f"nothing runs on {directory.root}; start it, or name a --gateway")
        gateway = State.parse(read_json(directory.state)).gateway
    if key is None and not directory.secrets.exists():
        raise NotRunning(f"{directory.root} holds no key; pass one that the gateway accepts")
    root = gateway.removesuffix("/").removesuffix("/v1")
    return root, key or Secrets.load(directory).admin_key
