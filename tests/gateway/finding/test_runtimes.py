"""Which runtime makes a call, and which of its calls do not train."""

from typing import Any

import orjson
import pytest

from gateway.dialects.chat.dialect import ChatDialect
from gateway.finding.fingerprint import Fingerprints
from gateway.finding.runtimes import LIBRARIES, OTHER, RUNTIMES
from gateway.finding.side_calls import side_call
from gateway.request.request import Request
from tests.gateway.api.playing import BODY, CHAT, shown_turns
from tests.gateways import Gateway

TOOL: Any = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
TITLE = "You are a title generator. You output ONLY a thread title. Nothing else."
BILLING = "x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;"


def request(*, system: str = "", user: str = "Hi", tools: tuple[str, ...] = ()) -> Request:
    messages = [{"role": "user", "content": user}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    offered = [{"type": "function", "function": {"name": name}} for name in tools]
    return ChatDialect().parse(orjson.dumps({"messages": messages, "tools": offered}), path="")


@pytest.mark.parametrize(
    ("name", "headers", "asked"),
    [
        ("claude-code", {b"user-agent": b"claude-cli/2.1.260 (external, cli)"}, request()),
        ("claude-code", {b"x-claude-code-session-id": b"1"}, request()),
        (
            "claude-code",
            {b"user-agent": b"litellm/1.80"},
            request(system=f"{BILLING}\nYou are Claude Code, Anthropic's official CLI."),
        ),
        ("claude-code", {}, request(tools=("Bash", "Edit", "Glob", "Read", "Write"))),
        ("codex", {b"user-agent": b"codex_cli_rs/0.80.0 (Linux)"}, request()),
        ("opencode", {b"user-agent": b"opencode/1.1 ai-sdk/openai"}, request()),
        ("openclaw", {b"user-agent": b"OpenAI/JS 6.1"}, request(system="You are a personal assistant running inside OpenClaw.")),
        ("hermes", {b"user-agent": b"OpenAI/Python 2.1"}, request(system="You are Hermes Agent, made by")),
        ("mini-swe-agent", {}, request(system="You are a helpful assistant that can interact with a computer.")),
        ("openai-agents", {b"user-agent": b"Agents/Python 0.6"}, request()),
        ("openai-python", {b"user-agent": b"AsyncOpenAI/Python 2.1"}, request()),
        ("ai-sdk", {b"user-agent": b"ai/5.0 ai-sdk/provider-utils/3.0"}, request()),
        ("other", {b"user-agent": b"curl/8.5"}, request(system="You are helpful.")),
        ("other", {}, request(user="You are Claude Code")),
    ],
)  # fmt: skip
def test_a_runtime_is_recognized(name: str, headers: dict[bytes, bytes], asked: Request) -> None:
    """By its user agent, its own headers, the first words of its instructions or its tools; the same when asked again."""
    fingerprints = Fingerprints()
    assert [fingerprints.runtime_of(headers, asked).name for _ in "ab"] == [name, name]


def test_a_call_is_recognized_by_nothing_but_itself() -> None:
    """Calls with the same first message and other tools, or another agent with the same beginning, change nothing."""
    fingerprints = Fingerprints()
    agent = b"mine/1 " + b"x" * 10_000
    for tools in ((), ("search",), ("Bash", "Read", "Edit", "Write"), ("shell", "update_plan")):
        asked, headers = request(tools=tools), {b"user-agent": agent}
        assert fingerprints.runtime_of(headers, asked) == Fingerprints().runtime_of(headers, asked)


def test_a_guess_joins_no_calls() -> None:
    """Only a user agent or an own header says that a client repeats calls in one piece; its tools and words do not."""
    guessed = [
        request(tools=("Bash", "Edit", "Read", "Write")),
        request(system="You are Claude Code, Anthropic's official CLI."),
    ]
    for asked in guessed:
        found = Fingerprints().runtime_of({}, asked)
        assert (found.name, found.repeats_unstreamed) == ("claude-code", False)
    for headers in ({b"user-agent": b"claude-cli/2.1"}, {b"x-claude-code-session-id": b"1"}):
        assert Fingerprints().runtime_of(headers, guessed[0]).repeats_unstreamed


def test_the_names_are_few() -> None:
    """Each name is a time series, so there is a fixed set of them; a runtime can be recognized in some way."""
    names = {each.name for each in RUNTIMES} | set(LIBRARIES.values()) | {OTHER.name}
    assert len(names) < 40
    assert all(r.agents or r.own_headers or r.says or r.tools for r in RUNTIMES)


@pytest.mark.parametrize(
    ("agent", "what", "asked"),
    [
        (b"opencode/1.1", "title", request(system=TITLE)),
        (b"opencode/1.1", None, request(system=TITLE, tools=("bash",))),
        (b"opencode/1.1", None, request(system="You are opencode", user=TITLE)),
        (b"curl/8.5", "title", request(system=TITLE)),
        (b"claude-cli/2.1", "quota", request(user="quota")),
        (b"claude-cli/2.1", None, request(user="quota of what?")),
        (b"claude-cli/2.1", "suggestion", request(user="<system-reminder>\nx\n</system-reminder>\n[SUGGESTION MODE: Suggest", tools=("Bash",))),
        (b"claude-cli/2.1", "topic", request(system=f"{BILLING}Analyze if this message indicates a new conversation topic.")),
        (b"claude-cli/2.1", None, request(user="Your task is to create a detailed summary of the conversation so far")),
        (b"crush/0.9", "title", request(system="You will generate a short title based on the first message a user")),
        (b"OpenAI/Python 2", None, request(user="Generate a title.")),
    ],
)  # fmt: skip
def test_side_calls_are_known_by_declared_rules(
    agent: bytes, what: str | None, asked: Request
) -> None:
    """A runtime's own errands match; work on the task does not, a summary of a full context included."""
    rule = side_call(Fingerprints().runtime_of({b"user-agent": agent}, asked), asked)
    assert (rule and rule.what) == what


async def test_a_side_call_is_in_the_episode_and_never_trains(served: Gateway) -> None:
    """The title call may come first: the episode trains, the call does not, and the episode says why; a header overrides it."""
    titled = BODY | {"messages": [{"role": "system", "content": TITLE}, *BODY["messages"]]}
    headers: Any = {"user-agent": "opencode/1.1", "x-session-id": "ses_1"}
    title = await served.admin.post(CHAT, json=titled, headers=headers)
    work = await served.admin.post(CHAT, json=BODY | {"tools": [TOOL]}, headers=headers)
    forced = headers | {"X-Turngate-Turn-Kind": "train"}
    await served.admin.post(CHAT, json=titled, headers=forced)
    marked = headers | {"X-Turngate-Turn-Kind": "side"}
    await served.admin.post(CHAT, json=BODY, headers=marked)

    episode = title.headers["x-turngate-episode"]
    assert work.headers["x-turngate-episode"] == episode
    shown = (await served.admin.get(f"/v1/episodes/{episode}")).json()
    turns = await shown_turns(served, episode)
    assert shown["kind"] == "train"
    assert [turn["kind"] for turn in turns] == ["side", "train", "train", "side"]
    assert [turn["notes"] for turn in turns] == [["side call of opencode: title"], [], [], []]
    assert {turn["client"] for turn in turns} == {"opencode"}
    rows = (await served.admin.get(f"/v1/episodes/{episode}?view=sequences")).json()["data"]
    trained = {turn for row in rows for turn in row["turns"] if turn >= 0}
    assert trained == {1, 2}


async def test_ids_of_calls_that_a_runtime_writes_into_its_history_are_found(
    served: Gateway,
) -> None:
    """smolagents tells its model in words what it called; the ids in them lead to the episode, those in a user's words do not."""
    first = await served.admin.post(CHAT, json=BODY)
    turn = (await shown_turns(served, first.headers["x-turngate-episode"]))[0]
    called = f"Calling tools:\n[{{'id': 'call_{turn['id'].removeprefix('turn_')}_0_0'}}]"
    system = {"role": "system", "content": "You are an expert assistant who can solve any task."}
    for role, is_found in (("assistant", True), ("user", False)):
        messages = [system, {"role": role, "content": called}, {"role": "user", "content": "3"}]
        answer = await served.admin.post(CHAT, json=BODY | {"messages": messages})
        is_same = answer.headers["x-turngate-episode"] == first.headers["x-turngate-episode"]
        assert is_same == is_found
