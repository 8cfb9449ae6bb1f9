"""`turngate wrap -- CMD`: any command as one episode, with a reward from its exit code or from another command."""

import asyncio
import math
import os
import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from tempfile import TemporaryFile
from typing import Annotated, Any

import typer
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay

from deploy.cli.connect.arguments import command_of
from deploy.cli.connect.child import Ended, run_child, stops_raised
from deploy.cli.connect.environment import agent_environment
from deploy.cli.connect.runtimes import Place
from deploy.cli.connection import DataDir, Gateway, address_of
from deploy.errors import GatewayBusy, GatewayRefused, RewardMissing
from deploy.gateway_api.gateway_client import GatewayClient
from deploy.stack.secrets import ADMIN_KEY
from deploy.terminal import Output

EXAMPLE = "turngate wrap -- python agent.py"
REWARD_SECONDS = 600.0  # a reward command that takes longer is stuck
RETRY_SECONDS = 60.0  # how long a reward is sent again: the work behind it is done and costly
PROJECT_KEY = "TURNGATE_API_KEY"

Ask = Callable[[GatewayClient], Awaitable[dict[str, Any]]]


def wrap(
    context: typer.Context,
    *,
    reward_command: Annotated[
        str,
        typer.Option(
            help="a shell command whose last line of output is the reward; default: 1 if the command exits with 0, else 0"
        ),
    ] = "",
    task: Annotated[str, typer.Option(help="the episode's task id")] = "",
    group: Annotated[str, typer.Option(help="the group it is compared in")] = "",
    group_size: Annotated[
        int | None, typer.Option(min=1, help="how many members it will have")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="seconds to wait for room for the episode")
    ] = 300.0,
    data_dir: DataDir = None,
    gateway: Gateway = None,
    key: Annotated[
        str | None,
        typer.Option(
            envvar=[PROJECT_KEY, ADMIN_KEY],
            help="with the scopes infer and reward; default: the admin key of the running stack",
        ),
    ] = None,
) -> None:
    """Run a command as one episode: open it, lead the command's model calls into it, reward and complete it.

    The command gets a key for this episode only. It ends with the command's exit code; a command that a signal stops is aborted.
    """
    output: Output = context.obj
    command = command_of(context, EXAMPLE)
    root, own_key = address_of(data_dir, gateway, key)
    given = {"task_id": task, "group_id": group, "group_size": group_size}
    body: dict[str, object] = {name: value for name, value in given.items() if value}
    retry_key = secrets.token_hex(16)

    def ask(question: Ask, *, seconds: float = RETRY_SECONDS) -> dict[str, Any]:
        return asyncio.run(_patiently(question, root, own_key, seconds=seconds))

    with stops_raised():
        opened = ask(lambda http: http.open_episode(body, retry_key=retry_key), seconds=wait)
        episode = opened["id"]
        place = Place(f"{root}/e/{episode}", opened["api_key"])
        try:
            environment = agent_environment(place, os.environ) | {"TURNGATE_EPISODE": episode}
            ended = run_child(command, environment)
            reward = _reward(reward_command, ended, episode)
            sealed = ask(lambda http: _end(http, episode, reward, retry_key=retry_key))
        except BaseException:  # a signal too
            with suppress(GatewayRefused):  # the error that is on its way says more
                ask(lambda http: http.complete(episode, "aborted"))
            raise
    _show(output, sealed, reward, code=ended.code)
    sys.exit(ended.code)


async def _patiently(question: Ask, root: str, key: str, *, seconds: float) -> dict[str, Any]:
    """Ask again while the gateway is busy or away; every question here may be repeated."""

    def pause(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return error.retry_after if isinstance(error, GatewayBusy) else 1.0

    async with GatewayClient(root, key) as client:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(GatewayBusy),
            wait=pause,
            stop=stop_after_delay(seconds),
            reraise=True,
        ):
            with attempt:
                return await question(client)
    raise AssertionError("the last attempt returns or raises")


async def _end(
    http: GatewayClient, episode: str, reward: float | None, *, retry_key: str
) -> dict[str, Any]:
    """The episode as its sealing shows it, for which the key needs no scope to read."""
    if reward is None:
        return await http.complete(episode, "aborted")
    rewarded = {"value": reward, "complete": True, "idempotency_key": retry_key}
    await http.reward(episode, rewarded)
    return await http.complete(episode, "succeeded")  # again: only this answer counts the turns


def _reward(command: str, ended: Ended, episode: str) -> float | None:
    """None if the command was stopped. Raises RewardMissing if the reward command fails or prints no number."""
    if ended.was_stopped:
        return None
    if not command:
        return 1.0 if ended.code == 0 else 0.0
    # Our own environment: the agent's leads to the policy that is judged.
    known = {"TURNGATE_EPISODE": episode, "TURNGATE_EXIT_CODE": str(ended.code)}
    try:
        return finite(_last_line(command, known))
    except (subprocess.SubprocessError, ValueError) as error:
        raise RewardMissing(
            f"the reward command gave no reward: {error}; its last line of output must be a number. The episode is aborted"
        ) from error


def _last_line(command: str, known: dict[str, str]) -> str:
    shell = ["/bin/sh", "-c", command]
    with TemporaryFile() as output:
        judged = run_child(shell, {**os.environ, **known}, output=output, seconds=REWARD_SECONDS)
        if judged.was_stopped:
            sys.exit(judged.code or 1)
        if judged.code:
            raise subprocess.CalledProcessError(judged.code, shell)
        output.seek(0)
        return output.read().decode(errors="replace").strip().rpartition("\n")[2]


def finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _show(output: Output, episode: dict[str, Any], reward: float | None, *, code: int) -> None:
    ending = "aborted" if reward is None else f"reward {reward:g}"
    output.note(f"episode {episode['id']}: {episode['num_turns']} turns, {ending}")
    if not episode["num_turns"]:
        output.note(
            "no model call came: the command takes its base URL from elsewhere; "
            "see `turngate connect` for its runtime"
        )
    content = {
        "episode": episode["id"],
        "turns": episode["num_turns"],
        "reward": reward,
        "exit_code": code,
    }
    if output.format.value == "json":
        output.result(content, "")
