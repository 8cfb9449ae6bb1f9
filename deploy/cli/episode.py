"""`turngate episode`: what was recorded, which tokens train, and how it ended."""

import asyncio
import time
from typing import Annotated, Any

import msgspec
import typer
from rich import box
from rich.table import Table

from deploy.cli.connection import DataDir, Gateway, ReadKey, ask
from deploy.cli.episode_picture import Picture
from deploy.gateway_api.episode import Episode, EpisodeSummary
from deploy.gateway_api.gateway_client import GatewayClient
from deploy.terminal import Output

app = typer.Typer(help="Look at episodes, token by token.", no_args_is_help=True)


@app.command()
def show(
    context: typer.Context,
    episode_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    sequences: Annotated[
        bool, typer.Option("--sequences", help="the rows that train, not the tree")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="leave no text out")] = False,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    key: ReadKey = None,
) -> None:
    """Draw an episode: its tree of spans, who sampled them, and where they train."""
    content = ask(lambda http: _read(http, episode_id), data_dir=data_dir, gateway=gateway, key=key)
    picture = Picture(Episode.parse(content), whole=full)
    output: Output = context.obj
    output.result(content, picture.rows() if sequences else picture.tree())


@app.command("list")
def list_episodes(
    context: typer.Context,
    *,
    status: Annotated[str, typer.Option(help="open, sealed, rewarded, claimed, trained, …")] = "",
    group: Annotated[str, typer.Option(metavar="ID")] = "",
    task: Annotated[str, typer.Option(metavar="ID")] = "",
    after: Annotated[
        str, typer.Option(metavar="ID", help="the last episode of the previous page")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    key: ReadKey = None,
) -> None:
    """List episodes, the newest first."""
    filters = {"status": status, "group_id": group, "task_id": task, "after": after}
    given: dict[str, str | int] = {name: value for name, value in filters.items() if value}
    page = ask(
        lambda http: http.list_episodes(limit=limit, **given),
        data_dir=data_dir,
        gateway=gateway,
        key=key,
    )
    episodes = msgspec.convert(page["data"], list[EpisodeSummary])
    output: Output = context.obj
    output.result(page, _table(episodes, now=time.time()))
    if page["has_more"]:
        output.note(f"there are more; continue with --after {episodes[-1].id}")


async def _read(http: GatewayClient, episode_id: str) -> dict[str, Any]:
    """The three views as one object; only the first if the tokens have expired."""
    episode = await http.episode(episode_id)
    if episode["num_turns"] > len(episode["turns"]):
        return episode
    tokens, sequences = await asyncio.gather(
        http.episode_view(episode_id, "tokens"), http.episode_view(episode_id, "sequences")
    )
    return {**episode, "tokens": tokens, "sequences": sequences}


def _table(episodes: list[EpisodeSummary], *, now: float) -> Table:
    table = Table("episode", "status", box=box.SIMPLE_HEAD)
    for name in ("turns", "reward"):
        table.add_column(name, justify="right")
    table.add_column("became")
    table.add_column("opened", justify="right")
    for episode in episodes:
        reward = "" if episode.reward is None else f"{episode.reward:+g}"
        ago = _ago(now - episode.created)
        turns = str(episode.num_turns)
        table.add_row(episode.id, episode.status, turns, reward, episode.ending, ago)
    return table


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} s ago"
