"""`turngate wrap`: a command of the user's as one episode."""

import signal
from typing import Any

import pytest

from tests.deploy.connect.conftest import AGENT, Cli, Ran
from tests.gateways import Gateway


async def episode_of(served: Gateway, ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = (await served.admin.get(f"/v1/episodes/{ran.json['episode']}")).json()
    return found


@pytest.mark.parametrize(("code", "reward"), [(0, 1.0), (3, 0.0)])
async def test_the_exit_code_is_the_reward(
    served: Gateway, cli: Cli, code: int, reward: float
) -> None:
    """A command's calls are one episode, rewarded with 1 if it exits with 0; its exit code is passed on."""
    ran = await cli.run(
        *("--output", "json", "wrap", "--gateway", cli.root, "--task", "t-1"),
        *("--", *AGENT, "chat,chat", str(code)),
    )
    assert ran.code == code, ran.err
    episode = await episode_of(served, ran)
    assert (episode["status"], episode["reward"]) == ("rewarded", reward)
    assert (episode["num_turns"], episode["task_id"]) == (2, "t-1")
    assert {turn["found_by"] for turn in episode["turns"]} == {"the episode key"}


async def test_a_reward_command_judges(served: Gateway, cli: Cli) -> None:
    """The last line that it prints is the reward; it knows the episode and the exit code."""
    judge = 'echo "judged $TURNGATE_EPISODE"; echo "0.$TURNGATE_EXIT_CODE"'
    ran = await cli.run(
        *("--output", "json", "wrap", "--gateway", cli.root, "--reward-command", judge),
        *("--", *AGENT, "chat", "5"),
    )
    assert (ran.code, ran.json["reward"]) == (5, 0.5), ran.err
    assert (await episode_of(served, ran))["status"] == "rewarded"


@pytest.mark.parametrize("judge", ["exit 1", "echo none", "echo nan", "true"])
async def test_a_reward_command_without_a_number_aborts_the_episode(
    served: Gateway, cli: Cli, judge: str
) -> None:
    """A judge that fails is no reward of 0: the episode does not train."""
    ran = await cli.run(
        *("wrap", "--gateway", cli.root, "--reward-command", judge, "--", *AGENT, "chat")
    )
    assert ran.code == 1
    assert "its last line of output must be a number" in ran.err
    (episode,) = (await served.admin.get("/v1/episodes")).json()["data"]
    assert episode["disposition"] == "aborted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_reaches_the_command_and_aborts_the_episode(
    served: Gateway, cli: Cli, number: signal.Signals
) -> None:
    """Who stops the wrapper stops its command; what was played does not train."""
    process = await cli.start("wrap", "--gateway", cli.root, "--", *AGENT, "chat,wait")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"waiting\n"
    process.send_signal(number)
    await process.communicate()
    assert process.returncode in (128 + number, 1)  # Python turns Ctrl-C into an exception
    (episode,) = (await served.admin.get("/v1/episodes")).json()["data"]
    assert (episode["disposition"], episode["num_turns"]) == ("aborted", 1)


async def test_a_command_that_does_not_exist_leaves_no_open_episode(
    served: Gateway, cli: Cli
) -> None:
    """The message names the command, and the episode is aborted."""
    ran = await cli.run("wrap", "--gateway", cli.root, "--", "no-such-command")
    assert ran.code == 1
    assert "no-such-command cannot be started" in ran.err
    (episode,) = (await served.admin.get("/v1/episodes")).json()["data"]
    assert episode["disposition"] == "aborted"


async def test_the_command_gets_no_key_that_may_reward(cli: Cli) -> None:
    """The environment leads every kind of runtime to the episode, and keeps the keys of others back."""
    ran = await cli.run(
        *("wrap", "--gateway", cli.root, "--", "env"),
        environment={"ANTHROPIC_API_KEY": "sk-own", "TURNGATE_API_KEY": ""},
    )
    given = dict(line.split("=", 1) for line in ran.out.splitlines() if "=" in line)
    assert given["OPENAI_BASE_URL"] == given["OPENAI_API_BASE"]
    assert given["OPENAI_BASE_URL"] == f"{given['ANTHROPIC_BASE_URL']}/v1"
    assert given["OPENAI_API_KEY"] == given["ANTHROPIC_AUTH_TOKEN"]
    assert given["OPENAI_API_KEY"].startswith("tg-ep-")
    assert not {"ANTHROPIC_API_KEY", "TURNGATE_GATEWAY_ADMIN_KEY"} & given.keys()
    assert "no model call came" in ran.err
