"""`turngate wrap`: a command of the user's as one episode."""

import signal
from typing import Any

import pytest

from tests.deploy.connect.conftest import AGENT, Cli, Ran
from tests.gateways import ADMIN_KEY, Gateway

SECRETS = (
    *("ANTHROPIC_API_KEY", "TURNGATE_API_KEY", "TURNGATE_GATEWAY_ADMIN_KEY"),
    *("TURNGATE_ENGINE_ADMIN_KEY", "TURNGATE_REDIS_URL", "TURNGATE_DATABASE_URL"),
)


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


async def test_a_reward_command_has_the_environment_of_the_wrapper(cli: Cli) -> None:
    """A judge that asks a model asks its own, and not the policy that it judges."""
    judge = 'test "$OPENAI_BASE_URL" = http://judge && test -z "$ANTHROPIC_BASE_URL"; echo $?'
    ran = await cli.run(
        *("--output", "json", "wrap", "--gateway", cli.root, "--reward-command", judge),
        *("--", *AGENT, "chat"),
        environment={"OPENAI_BASE_URL": "http://judge"},
    )
    assert ran.json["reward"] == 0, ran.err


async def test_a_key_that_cannot_read_is_enough(served: Gateway, cli: Cli) -> None:
    """The scopes infer and reward open, play, reward and show the episode."""
    made = await served.admin.post("/v1/keys", json={"name": "k", "scopes": ["infer", "reward"]})
    ran = await cli.run(
        *("--output", "json", "wrap", "--gateway", cli.root, "--key", made.json()["key"]),
        *("--", *AGENT, "chat"),
    )
    assert ran.code == 0, ran.err
    assert (ran.json["turns"], ran.json["reward"]) == (1, 1.0)


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
    assert process.returncode == 128 + number
    (episode,) = (await served.admin.get("/v1/episodes")).json()["data"]
    assert (episode["disposition"], episode["num_turns"]) == ("aborted", 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_during_the_reward_command_aborts_the_episode(
    served: Gateway, cli: Cli, number: signal.Signals
) -> None:
    """It reaches the reward command, and no episode stays open."""
    process = await cli.start(
        *("wrap", "--gateway", cli.root, "--reward-command", "echo judging >&2; exec sleep 60"),
        *("--", *AGENT, "chat"),
    )
    assert process.stderr is not None
    assert await process.stderr.readline() == b"judging\n"
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == 128 + number
    (episode,) = (await served.admin.get("/v1/episodes")).json()["data"]
    assert episode["disposition"] == "aborted"


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
        *("wrap", "--gateway", cli.root, "--key", ADMIN_KEY, "--", "env"),
        environment=dict.fromkeys(SECRETS, "secret"),
    )
    given = dict(line.split("=", 1) for line in ran.out.splitlines() if "=" in line)
    assert given["OPENAI_BASE_URL"] == given["OPENAI_API_BASE"]
    assert given["OPENAI_BASE_URL"] == f"{given['ANTHROPIC_BASE_URL']}/v1"
    assert given["OPENAI_API_KEY"] == given["ANTHROPIC_AUTH_TOKEN"]
    assert given["OPENAI_API_KEY"].startswith("tg-ep-")
    assert "ANTHROPIC_API_KEY" not in given
    assert {name for name in given if name.startswith("TURNGATE_")} == {"TURNGATE_EPISODE"}
    assert "no model call came" in ran.err
