"""`turngate connect`: settings for runtimes, and what the gateway saw of a command."""

import json
import tomllib
from typing import Any

import pytest

from clients.python.turngate.environment import agent_environment as client_environment
from deploy.cli.connect.environment import agent_environment
from deploy.cli.connect.runtimes import RUNTIMES, Place
from deploy.gateway_api.gateway_client import PAGE
from tests.deploy.connect.conftest import AGENT, Cli
from tests.gateways import Gateway

PLACE = Place("http://127.0.0.1:8000", "tg-key")
NAMED = {
    *("claude-code", "codex", "opencode", "openclaw", "hermes", "openai", "openai-agents"),
    *("langgraph", "pydantic-ai", "crewai", "smolagents", "ai-sdk", "mini-swe-agent", "curl"),
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_settings_name_the_base_url_the_key_and_the_model(name: str) -> None:
    """Each runtime's settings have all three, and nothing is left to fill in."""
    text = "\n".join(text for _, text in RUNTIMES[name].settings(PLACE))
    assert "tg-key" in text
    assert "http://127.0.0.1:8000" in text
    assert "policy" in text or name == "openai"
    assert "<" not in text


def test_codex_reads_its_key_from_a_variable_that_agents_get() -> None:
    """Under `turngate wrap` and `connect --check` no variable of Turngate's own is left."""
    config = dict(RUNTIMES["codex"].settings(PLACE))["~/.codex/config.toml"]
    variable = tomllib.loads(config)["model_providers"]["turngate"]["env_key"]
    assert agent_environment(PLACE, {})[variable] == "tg-key"


def test_configuration_files_can_be_read() -> None:
    """What goes into JSON or TOML files is valid there, and Python code compiles."""
    assert RUNTIMES.keys() == NAMED
    for runtime in RUNTIMES.values():
        for where, text in runtime.settings(PLACE):
            if where.endswith(".json"):
                assert json.loads(text)
            elif where.endswith(".toml"):
                assert tomllib.loads(text)
            elif where == "in Python":
                compile(text, runtime.name, "exec")


@pytest.mark.parametrize("name", ["claude-code", "openai"])
async def test_a_fresh_key_takes_turns_and_rewards_nothing(
    served: Gateway, cli: Cli, name: str
) -> None:
    """The printed key has the scope infer; the address is the gateway's."""
    ran = await cli.run("--output", "json", "connect", name, "--gateway", f"{cli.root}/v1/")
    assert ran.code == 0, ran.err
    assert ran.json["base_url"] == f"{cli.root}/v1"
    async with served.openai(ran.json["api_key"]) as client:
        reply = await client.chat.completions.create(
            model=ran.json["model"], messages=[{"role": "user", "content": "Hi"}]
        )
    assert reply.choices[0].message.content == "Hello there."
    keys = (await served.admin.get("/v1/keys")).json()["data"]
    assert [key["scopes"] for key in keys if key["id"] == ran.json["key_id"]] == [["infer"]]


async def test_an_unknown_runtime_lists_those_that_are_known(cli: Cli) -> None:
    """A name that has no entry is refused, and no key is made."""
    ran = await cli.run("connect", "klaude", "--gateway", cli.root)
    assert ran.code == 1
    assert "claude-code" in ran.err


async def checked(cli: Cli, plan: str) -> dict[str, Any]:
    ran = await cli.run(
        *("--output", "json", "connect", "--check", "--gateway", cli.root),
        *("--episode", "ep_checked", "--", *AGENT, plan),
    )
    assert ran.code == 0, ran.err
    found: dict[str, Any] = ran.json
    return found


async def test_a_check_shows_what_came_of_a_command(cli: Cli) -> None:
    """It names the episode, how each turn found it, side calls, forks and repeated calls, with advice."""
    report = await checked(cli, "chat,chat,title,fresh")
    assert report["episodes"] == ["ep_checked"]
    assert (report["turns"], report["found_by"]) == (4, {"the path": 4})
    assert len(report["side_calls"]) == 1
    assert report["forks"] == 1
    assert any("rewritten" in advice for advice in report["advice"])
    assert any("Side calls" in advice for advice in report["advice"])


async def test_a_check_finds_an_episode_however_old(served: Gateway, cli: Cli) -> None:
    """Of an episode that was there before, behind a page of others, it shows the turns that the command took."""
    chat = {"messages": [{"role": "user", "content": "Begin."}]}
    for _ in range(2):  # equal bodies: two branches, which are not of the command
        await served.admin.post("/e/ep_checked/v1/chat/completions", json=chat)
    for _ in range(PAGE + 1):
        assert (await served.admin.post("/v1/episodes", json={})).is_success
    report = await checked(cli, "chat,chat")
    assert report["episodes"] == ["ep_checked"]
    assert (report["turns"], report["found_by"]) == (2, {"the path": 2})
    assert not any("another key" in advice for advice in report["advice"])


async def test_a_check_that_leads_nowhere_sees_no_old_turns(served: Gateway, cli: Cli) -> None:
    """A command that takes no turn in its episode is told so, whatever the episode has."""
    chat = {"messages": [{"role": "user", "content": "Begin."}]}
    await served.admin.post("/e/ep_checked/v1/chat/completions", json=chat)
    led = ("--gateway", cli.root, "--episode", "ep_checked")
    ran = await cli.run("connect", "--check", *led, "--", "true")
    assert ran.code == 1
    assert "No model call came" in ran.out


async def test_a_check_leaves_no_key(served: Gateway, cli: Cli) -> None:
    """The key that the command got ends with it."""
    await checked(cli, "chat")
    assert (await served.admin.get("/v1/keys")).json()["data"] == []


async def test_a_check_of_a_command_that_calls_nobody_says_what_to_do(cli: Cli) -> None:
    """Without a call the command has its base URL from elsewhere."""
    ran = await cli.run("connect", "--check", "--gateway", cli.root, "--", "true")
    assert ran.code == 1
    assert "No model call came" in ran.out


def test_the_client_and_the_command_set_the_same_variables() -> None:
    """An agent under `turngate wrap` finds what one under the client's `env()` finds."""

    class Episode:
        id, root, base_url, api_key, model = "ep_1", PLACE.root, PLACE.v1, PLACE.key, "policy"

    inherited = {
        **dict.fromkeys(("PATH", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "inherited"),
        **dict.fromkeys(("TURNGATE_API_KEY", "TURNGATE_GATEWAY_ADMIN_KEY"), "inherited"),
        **dict.fromkeys(("TURNGATE_ENGINE_ADMIN_KEY", "TURNGATE_REDIS_URL"), "inherited"),
    }
    found = agent_environment(PLACE, inherited)
    wanted = client_environment(Episode(), inherited)
    assert wanted.pop("TURNGATE_EPISODE") == "ep_1"
    assert found == wanted
    assert {name for name, value in found.items() if value == "inherited"} == {"PATH"}
