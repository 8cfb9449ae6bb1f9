"""What the metrics say of calls that did not continue their episode, and of what became of tokens, counted by hand."""

import asyncio
from pathlib import Path
from typing import Any

from rollout.episode.advantages import Credit
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateway.dialects.test_chat import CALL, PRICE
from tests.gateways import Gateway, StartGateway
from tests.rollout.play import claim, policy
from tests.scripted_engine import ScriptedEngine, Tokens, Wait

PATH = "/e/ep_1/v1/chat/completions"
USER: Any = {"role": "user", "content": "What does a melon cost?"}
MORE: Any = {"role": "user", "content": "And two?"}
SYSTEM: Any = {"role": "system", "content": "Today is Monday."}


async def ask(served: Gateway, messages: list[Any], *, client: str = "curl/8", **body: Any) -> Any:
    """One call by the client with this user agent; the answer's message."""
    reply = await served.admin.post(
        PATH, json={"messages": messages, **body}, headers={"User-Agent": client}
    )
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["message"]


async def test_every_break_is_counted_once_by_class_and_client(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Of nine calls one opens the episode, two continue it, and six break for the five reasons there are."""
    called = {"role": "tool", "tool_call_id": "x", "content": "4"}
    python, claude = "AsyncOpenAI/Python 2.9.0", "claude-cli/2.0.1 (external, cli)"
    thought = f"<think>\nI look it up.\n</think>\n\n{CALL}"
    plain = "<think>\n\n</think>\n\nFour."
    scripted.script(*spell(qwen3, thought), end_of_turn(qwen3))
    scripted.default = (*spell(qwen3, plain), end_of_turn(qwen3))

    answer = await ask(thinking, [USER], tools=[PRICE], client=python)
    tool_loop = [USER, answer, called]
    final = await ask(thinking, tool_loop, tools=[PRICE], client=python)
    again = {**answer, "reasoning_content": "I guess.", "reasoning": None}
    await ask(thinking, [USER, again, called], tools=[PRICE], client=python)  # reading
    await ask(thinking, [*tool_loop, final, MORE], tools=[PRICE], client=python)  # template
    await ask(thinking, [*tool_loop, final, MORE], client=claude)  # prompt: no tools
    await ask(thinking, [SYSTEM, USER, answer, called], tools=[PRICE], client=claude)  # prompt
    made_up = {"role": "assistant", "content": "It is free."}
    await ask(thinking, [USER, made_up, MORE], tools=[PRICE])  # history
    await ask(thinking, [MORE], tools=[PRICE])  # start
    await ask(thinking, [*tool_loop], tools=[PRICE])

    assert await thinking.metric("turngate_breaks_total") == {
        '{class="reading",client="openai-python"}': 1.0,
        '{class="template",client="openai-python"}': 1.0,
        '{class="prompt",client="claude-code"}': 2.0,
        '{class="history",client="other"}': 1.0,
        '{class="start",client="other"}': 1.0,
    }
    attached = await thinking.metric("turngate_calls_attached_total")
    assert attached['{how="bridged"}'] == 2.0
    assert sum(attached.values()) == 9.0


async def test_tokens_that_will_not_train_are_counted(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A side call and a call whose client left leave one orphaned span each, with as many tokens as were sampled."""
    sampled = tokenizer.encode("so far")
    scripted.script(*spell(tokenizer, "A title"), end_of_turn(tokenizer))
    scripted.script(Tokens(sampled), Wait(asyncio.Event()), end_of_turn(tokenizer))
    side = {"X-Turngate-Turn-Kind": "side"}
    await served.admin.post(PATH, json={"messages": [USER]}, headers=side)
    async with served.admin.stream("POST", PATH, json={"messages": [USER], "stream": True}) as left:
        async for line in left.aiter_lines():
            if tokenizer.decode(sampled) in line:
                break

    async def has_left() -> bool:
        return (await served.metric(spans))['{reason="abandoned"}'] > 0

    spans = "turngate_orphaned_spans_total"
    await eventually(has_left)
    await ask(served, [USER])

    assert await served.metric(spans) == {'{reason="abandoned"}': 1.0, '{reason="side"}': 1.0}
    assert await served.metric("turngate_orphaned_tokens_total") == {
        '{reason="abandoned"}': len(sampled),
        '{reason="side"}': len(tokenizer.encode("A title")) + 1,
    }


async def test_the_delivered_fraction_is_exact(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Two of five outputs in settled episodes were trained; a gateway that starts later counts the same."""
    size = len(tokenizer.encode("Hello there.")) + 1
    side = {"X-Turngate-Turn-Kind": "side"}
    async with start_gateway(scripted) as served:
        for episode, headers in (
            *(("ep_1", {}), ("ep_1", {}), ("ep_1", side)),  # trained, but for its side call
            *(("ep_2", side), ("ep_3", {}), ("ep_4", {})),  # no signal, aborted, still open
        ):
            path = f"/e/{episode}/v1/chat/completions"
            await served.admin.post(path, json={"messages": [USER]}, headers=headers)
        await served.admin.post("/v1/episodes/ep_1/rewards", json={"value": 1, "complete": True})
        await served.admin.post("/v1/episodes/ep_2/complete")
        await served.admin.post("/v1/episodes/ep_3/complete", json={"status": "aborted"})
        (claimed,) = await claim(served.store)
        credit = {"ep_1": Credit(b"", 2 * size)}
        await served.store.ack("trainer", [claimed.group_id], policy(1), credit=credit)

    async with start_gateway(scripted, project=served.project) as later:
        settled = await later.metric("turngate_settled_tokens_total")
        delivered = await later.metric("turngate_delivered_tokens_total")

    assert {name: tokens for name, tokens in settled.items() if tokens} == {
        '{disposition="trained"}': 3 * size,
        '{disposition="evaluated"}': size,
        '{disposition="aborted"}': size,
    }
    assert delivered == {"": 2 * size}


async def test_a_message_without_a_word_breaks_like_any_other(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A history that was made up branches also where its first message is empty."""
    made_up = {"role": "assistant", "content": "It is free."}
    empty = {"role": "user", "content": ""}
    await ask(served, [empty])
    await ask(served, [empty, made_up, MORE])
    assert await served.metric("turngate_breaks_total") == {'{class="history",client="other"}': 1.0}


async def test_an_unreadable_weights_directory_leaves_the_metrics(
    start_gateway: StartGateway, scripted: ScriptedEngine, tmp_path: Path
) -> None:
    """Only the evaluations of its policies are left out."""
    unreadable = tmp_path / ("w" * 300)  # longer than a name may be
    async with start_gateway(scripted, weights_dir=unreadable) as served:
        await served.admin.post("/v1/episodes", json={})
        assert await served.metric("turngate_episodes_opened_total") == {"": 1.0}
