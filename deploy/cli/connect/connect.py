"""`turngate connect`: how a runtime is pointed at the gateway, and what the gateway sees of it."""

import asyncio
import os
from typing import Annotated, Any

import typer
from rich.text import Text

from deploy.cli.connect.arguments import command_of
from deploy.cli.connect.child import run_child
from deploy.cli.connect.environment import agent_environment
from deploy.cli.connect.episodes_before import EpisodesBefore
from deploy.cli.connect.report import Report
from deploy.cli.connect.runtimes import MODEL, RUNTIMES, Place, Runtime
from deploy.cli.connection import AdminKey, DataDir, Gateway, address_of
from deploy.errors import SettingsInvalid
from deploy.gateway_api.gateway_client import GatewayClient
from deploy.terminal import Output

EXAMPLE = "turngate connect claude-code --check -- claude -p 'Say hello'"


def connect(
    context: typer.Context,
    *,
    runtime: Annotated[str, typer.Argument(metavar="RUNTIME", help=", ".join(RUNTIMES))] = "",
    gateway: Gateway = None,
    episode: Annotated[
        str, typer.Option(metavar="ID", help="lead all calls into this episode")
    ] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="of the fresh key; repeatable; default: infer, which rewards nothing"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="run the command after -- and show what came")
    ] = False,
    data_dir: DataDir = None,
    admin_key: AdminKey = None,
) -> None:
    """Print the settings that point a runtime at the gateway, with a fresh key; or run a command and show what came of it."""
    output: Output = context.obj
    chosen = _chosen(runtime) if runtime or not check else None
    command = command_of(context, EXAMPLE) if check else []
    root, admin = address_of(data_dir, gateway, admin_key)
    made = asyncio.run(_make_key(root, admin, runtime or "check", tuple(scope or ("infer",))))
    place = Place(f"{root}/e/{episode}" if episode else root, made["key"])
    if not check:
        assert chosen is not None, "without a command there is a runtime"
        output.result(_content(chosen, place, made), _text(chosen, place))
        return
    try:
        earlier = asyncio.run(_begin(root, admin, episode))
        ended = run_child(command, agent_environment(place, os.environ))
        report = asyncio.run(_report(root, admin, earlier, made["id"]))
    finally:
        asyncio.run(_delete_key(root, admin, made["id"]))
    output.result({**report.content(), "exit_code": ended.code}, report.table())
    if not report.turns or ended.code:
        raise typer.Exit(1)


def _chosen(name: str) -> Runtime:
    if name not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise SettingsInvalid(f"no runtime {name!r}; known are {known}. For any other: openai")
    return RUNTIMES[name]


async def _make_key(root: str, admin: str, name: str, scopes: tuple[str, ...]) -> dict[str, Any]:
    async with GatewayClient(root, admin) as client:
        return await client.create_key(None, name=name, scopes=scopes)


async def _delete_key(root: str, admin: str, key_id: str) -> None:
    async with GatewayClient(root, admin) as client:
        await client.delete_key(key_id)


def _content(runtime: Runtime, place: Place, made: dict[str, Any]) -> dict[str, Any]:
    settings = [{"where": where, "text": text} for where, text in runtime.settings(place)]
    strings = {"base_url": place.v1, "api_key": place.key, "model": MODEL}
    return {"runtime": runtime.name, **strings, "key_id": made["id"], "settings": settings}


def _text(runtime: Runtime, place: Place) -> Text:
    """Ready to be copied: what is not a setting is a comment."""
    mark = "//" if runtime.name == "ai-sdk" else "#"
    parts = [f"{mark} {where}\n{text}\n" for where, text in runtime.settings(place)]
    if runtime.note:
        parts.insert(0, f"{mark} {runtime.note}\n")
    return Text("\n".join(parts).rstrip("\n"))


async def _begin(root: str, admin: str, episode: str) -> EpisodesBefore:
    async with GatewayClient(root, admin) as client:
        return await EpisodesBefore.begin(client, episode)


async def _report(root: str, admin: str, earlier: EpisodesBefore, key_id: str) -> Report:
    async with GatewayClient(root, admin) as client:
        return await earlier.report(client, key_id)
