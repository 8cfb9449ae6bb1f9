"""Replies that get lost: whatever a client does about it, no answer to one question trains twice."""

from typing import Any

from anthropic import AsyncAnthropic

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.api.playing import CHAT, USER, shown_turns
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import ADMIN_KEY, Gateway
from tests.scripted_engine import ScriptedEngine

MORE: Any = {"role": "user", "content": "And then?"}
CLAUDE_CODE: Any = {"user-agent": "claude-cli/2.1.260 (external, cli)"}


async def trained_turns(served: Gateway, episode: str) -> list[int]:
    """The ordinals of the turns of which something trains."""
    rows = (await served.admin.get(f"/v1/episodes/{episode}?view=sequences")).json()["data"]
    return sorted({turn for row in rows for turn in row["turns"] if turn >= 0})


async def test_a_call_that_is_repeated_without_a_word_trains_once(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Every reply of a conversation gets lost once: each call is in the episode twice, and the answer that was continued trains."""
    messages = list(USER)
    path = f"/e/ep_1{CHAT}"
    for number in range(3):
        for word in ("Lost", "Answer"):
            scripted.script(*spell(tokenizer, f"{word} {number}."), end_of_turn(tokenizer))
            reply = await served.admin.post(path, json={"messages": messages})
        messages += [reply.json()["choices"][0]["message"], MORE]

    assert len(await shown_turns(served, "ep_1")) == 6
    assert await trained_turns(served, "ep_1") == [1, 3, 5]
    tree = (await served.admin.get("/v1/episodes/ep_1?view=tokens")).json()["data"]
    assert [span["orphaned"] for span in tree if span["kind"] == "sampled"].count("lost") == 3


async def test_calls_that_say_that_they_are_first_tries_all_train(served: Gateway) -> None:
    """A vote of three equal calls by an SDK that counts its tries, or with keys of their own, trains all three; Claude Code's last one."""
    for episode, headers, trained in (
        ("ep_1", [{"x-stainless-retry-count": "0"}] * 3, [0, 1, 2]),
        ("ep_2", [{"idempotency-key": f"vote {n}"} for n in range(3)], [0, 1, 2]),
        ("ep_3", [CLAUDE_CODE | {"x-stainless-retry-count": "0"}] * 3, [2]),
    ):
        for each in headers:
            body = {"messages": USER, "stream": True}
            await served.admin.post(f"/e/{episode}{CHAT}", json=body, headers=each)
        assert await trained_turns(served, episode) == trained


async def test_a_reward_keeps_an_answer_that_nobody_continued(served: Gateway) -> None:
    """A reward by the id of the first of two equal calls trains that one; the other does not."""
    body = {"messages": USER}
    first, _ = [await served.admin.post(f"/e/ep_1{CHAT}", json=body) for _ in "ab"]
    assert await trained_turns(served, "ep_1") == [1]
    reward = {"completion_id": first.json()["id"], "value": 1.0}
    await served.admin.post("/v1/rewards", json=reward)
    assert await trained_turns(served, "ep_1") == [0]


async def test_an_unstreamed_repeat_of_a_broken_stream_is_one_turn(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Claude Code asks for the reply in one piece after a stream broke; it gets the recorded one, with any limit."""
    ask: Any = {"model": "policy", "messages": USER}
    url, headers = f"{served.url}/e/ep_1", CLAUDE_CODE
    async with AsyncAnthropic(
        api_key=ADMIN_KEY, base_url=url, default_headers=headers, max_retries=0
    ) as client:
        async with client.messages.stream(**ask, max_tokens=64) as stream:
            streamed = await stream.get_final_message()
        whole = await client.messages.create(**ask, max_tokens=21)

    assert (whole.id, whole.content[0].text) == (streamed.id, streamed.content[0].text)
    assert len(scripted.requests) == 1
    (turn,) = await shown_turns(served, "ep_1")
    assert turn["client"] == "claude-code"


async def test_a_lost_first_reply_is_no_part_of_the_episode(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Without a carrier it is an episode of its own, which no reward ever reaches; the agent goes on in the other one."""
    for word in ("Lost", "Answer"):
        scripted.script(*spell(tokenizer, word), end_of_turn(tokenizer))
    lost, got = [await served.admin.post(CHAT, json={"messages": USER}) for _ in "ab"]
    after = [*USER, got.json()["choices"][0]["message"], MORE]
    later = await served.admin.post(CHAT, json={"messages": after})

    assert later.headers["x-turngate-episode"] == got.headers["x-turngate-episode"]
    assert len(await shown_turns(served, lost.headers["x-turngate-episode"])) == 1
