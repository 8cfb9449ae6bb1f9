"""What names an episode, what yields to it, and that nothing is found under another key."""

from itertools import combinations
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.api.playing import BODY, CHAT, USER, open_episode, shown_turns
from tests.gateway.api.test_tenancy import client_of, made_key
from tests.gateway.conftest import spell
from tests.gateway.dialects.test_chat import PRICE
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine, Stop

CARRIERS = ("path", "header", "body")
SESSIONS: Any = (
    ("X-Session-Id",),
    ("session_id",),
    ("x-claude-code-session-id",),
    ("session-id", "thread-id"),
    ("x-litellm-session-id",),
)
IN_BODY: Any = (
    lambda id_: {"session_id": id_},
    lambda id_: {"metadata": {"session_id": id_}},
    lambda id_: {"metadata": {"user_id": f"user_ab_account__session_{id_}"}},
)
ODD = ("a b/c%d", "ü" * 3, "x" * 500, "-", "../..", "{project}")


def call_with(**named: str) -> tuple[str, dict[str, Any]]:
    """A path and what goes with it, so that each of these carriers names this episode."""
    path = f"/e/{named['path']}{CHAT}" if "path" in named else CHAT
    headers = {"X-Turngate-Episode": named["header"]} if "header" in named else {}
    metadata = {"episode_id": named["body"]} if "body" in named else {}
    return path, {"headers": headers, "json": BODY | {"metadata": metadata}}


def with_session(number: int) -> dict[str, Any]:
    """A call with one of the ids that runtimes send, in a header or in the body."""
    if number < len(SESSIONS):
        return {"json": BODY, "headers": dict.fromkeys(SESSIONS[number], f"session-{number}")}
    return {"json": BODY | IN_BODY[number - len(SESSIONS)](f"session-{number}")}


EVERY_SESSION = range(len(SESSIONS) + len(IN_BODY))


async def test_two_carriers_must_agree(served: Gateway) -> None:
    """Any two may name one episode between them; if they name two, the call is a 400 that says which names which."""
    for first, second in combinations(CARRIERS, 2):
        path, call = call_with(**{first: "ep_1", second: "ep_1"})
        agreed = await served.admin.post(path, **call)
        path, call = call_with(**{first: "ep_1", second: "ep_2"})
        refused = await served.admin.post(path, **call)

        assert agreed.headers["x-turngate-episode"] == "ep_1"
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "episode_conflict")
        assert "names ep_2" in refused.json()["error"]["message"]


@pytest.mark.parametrize("prefix", ["/e//v1", "/e/v1"])
async def test_a_path_without_an_id_names_no_episode(served: Gateway, prefix: str) -> None:
    """A base URL made with an empty variable is refused, or all callers with it would meet in an episode `v1`."""
    refused = await served.admin.post(f"{prefix}/chat/completions", json=BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_episode_id")

    named = await served.admin.post("/e/v1/v1/chat/completions", json=BODY)
    assert named.headers["x-turngate-episode"] == "v1"


async def test_an_episode_key_is_a_carrier(served: Gateway) -> None:
    """Its episode agrees with the others or is a conflict; the turn says that the key named it."""
    opened = await open_episode(served)
    async with client_of(served, opened["api_key"]) as agent:
        alone = await agent.post(CHAT, json=BODY)
        refused = await agent.post(f"/e/ep_2{CHAT}", json=BODY)
    assert alone.headers["x-turngate-episode"] == opened["id"]
    assert refused.json()["error"]["code"] == "episode_conflict"
    (turn,) = await shown_turns(served, opened["id"])
    assert turn["found_by"] == "the episode key"


async def test_a_runtimes_own_id_yields_and_becomes_a_thread(served: Gateway) -> None:
    """Beside a carrier that names another episode it is no conflict: it is the turn's thread."""
    for number in EVERY_SESSION:
        answer = await served.admin.post(f"/e/ep_1{CHAT}", **with_session(number))
        assert answer.headers["x-turngate-episode"] == "ep_1"
    turns = await shown_turns(served, "ep_1")
    assert [turn["thread"] for turn in turns] == [f"session-{n}" for n in EVERY_SESSION]
    assert {turn["found_by"] for turn in turns} == {"the path"}


async def test_one_session_is_one_episode(served: Gateway, other: Gateway) -> None:
    """Calls with the same id of a runtime are in one episode at every gateway, until it is sealed; then they open another."""
    known = set()
    for number in EVERY_SESSION:
        call = with_session(number)
        again = call | {
            "json": call["json"] | {"seed": 1}
        }  # Claude Code's equal bodies are one call
        answers = [await served.admin.post(CHAT, **call), await other.admin.post(CHAT, **again)]
        (episode,) = {answer.headers["x-turngate-episode"] for answer in answers}
        await served.admin.post(f"/v1/episodes/{episode}/complete", json={})
        later = [await served.admin.post(CHAT, **call) for _ in "ab"]
        (second,) = {answer.headers["x-turngate-episode"] for answer in later}
        found = [turn["found_by"] for turn in await shown_turns(served, episode)]
        assert found == ["a new episode", "the runtime's session"]
        known |= {episode, second}
    assert len(known) == 2 * len(EVERY_SESSION)


async def test_odd_ids_of_runtimes_are_never_refused(served: Gateway) -> None:
    """Whatever characters it has, and however long it is, the id groups its calls and the thread is a short label."""
    for id_ in ODD:
        headers: Any = {b"x-session-id": id_.encode()}
        answers = [await served.admin.post(CHAT, json=BODY, headers=headers) for _ in "ab"]
        (episode,) = {answer.headers["x-turngate-episode"] for answer in answers}
        (thread,) = {turn["thread"] for turn in await shown_turns(served, episode)}
        assert 0 < len(thread) <= 64


async def test_two_keys_never_meet(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The same session, conversation, cache key or tool-call id under another key is another episode."""
    called = '<tool_call>\n{"name": "price", "arguments": {}}\n</tool_call>'
    keys = [(await made_key(served.admin, scopes=["infer"]))["key"] for _ in "ab"]
    headers: Any = {"user-agent": "codex_cli_rs/1.0"}
    first: Any = {"messages": USER, "tools": [PRICE], "prompt_cache_key": "c"}
    async with client_of(served, keys[0]) as one, client_of(served, keys[1]) as two:
        for kind in ({"X-Session-Id": "s"}, headers):
            scripted.script(*spell(tokenizer, called), Stop(min(tokenizer.eos_ids)))
            opened = await one.post(CHAT, json=first, headers=kind)
            message = opened.json()["choices"][0]["message"]
            result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": ""}
            after = first | {"messages": [*USER, message, result]}
            own = await one.post(CHAT, json=after, headers=kind)
            foreign = await two.post(CHAT, json=after, headers=kind)
            assert own.headers["x-turngate-episode"] == opened.headers["x-turngate-episode"]
            assert foreign.headers["x-turngate-episode"] != opened.headers["x-turngate-episode"]


async def test_a_tool_call_id_names_its_episode(
    served: Gateway, other: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A call whose history was replaced by a summary, but for a tool's result, is found by the id of that result."""
    called = '<tool_call>\n{"name": "price", "arguments": {}}\n</tool_call>'
    scripted.script(*spell(tokenizer, called), Stop(min(tokenizer.eos_ids)))
    opened = await served.admin.post(CHAT, json={"messages": USER, "tools": [PRICE]})
    message = opened.json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "4"}
    summary: Any = [{"role": "user", "content": "So far: a price was asked."}, message, result]
    later = await other.admin.post(CHAT, json={"messages": summary, "tools": [PRICE]})

    assert later.headers["x-turngate-episode"] == opened.headers["x-turngate-episode"]
    turns = await shown_turns(served, later.headers["x-turngate-episode"])
    assert turns[-1]["found_by"] == "an id of an earlier reply"


async def test_a_cache_key_counts_for_known_clients_only(served: Gateway) -> None:
    """Codex's calls of one session share it; from any other client it says nothing of the episode."""
    body = BODY | {"prompt_cache_key": "c-1"}
    codex: Any = {"user-agent": "codex_cli_rs/0.80.0"}
    known = [await served.admin.post(CHAT, json=body, headers=codex) for _ in "ab"]
    unknown = [await served.admin.post(CHAT, json=body) for _ in "ab"]
    assert len({answer.headers["x-turngate-episode"] for answer in known}) == 1
    assert len({answer.headers["x-turngate-episode"] for answer in (*known, *unknown)}) == 3
    turns = await shown_turns(served, known[0].headers["x-turngate-episode"])
    assert [turn["found_by"] for turn in turns] == ["a new episode", "prompt_cache_key"]
