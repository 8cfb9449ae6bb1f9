"""A reasoning model with the real Qwen3 template: its reasoning is streamed apart, and later reused or branched from."""

from functools import partial
from typing import Any

import pytest
from openai import BadRequestError

from rollout.episode.sequences import linearize
from rollout.episode.trie import Trie
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.test_chat import CALL, PRICE
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine

USER: Any = {"role": "user", "content": "What does a melon cost?"}
EPISODE = {"X-Turngate-Episode": "ep_1"}


async def ask(served: Gateway, messages: list[Any]) -> Any:
    async with served.openai() as client:
        completion = await client.chat.completions.create(
            model="policy", messages=messages, tools=[PRICE], extra_headers=EPISODE
        )
    return completion.choices[0].message


async def test_reasoning_is_told_apart(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Reasoning arrives under both names clients read, content without it, streamed and not."""
    text = "<think>\nLet me see.\n</think>\n\nFour."
    scripted.script(*spell(qwen3, text), end_of_turn(qwen3))
    scripted.script(*spell(qwen3, text), end_of_turn(qwen3))
    message = (await ask(thinking, [USER])).model_dump()
    reasoning = content = ""
    async with thinking.openai() as client:
        stream = await client.chat.completions.create(model="x", messages=[USER], stream=True)
        async for chunk in stream:
            delta = chunk.choices[0].delta.model_dump()
            reasoning += delta.get("reasoning_content") or ""
            content += delta.get("content") or ""
    assert message["reasoning"] == message["reasoning_content"] == reasoning
    assert reasoning.strip() == "Let me see."
    assert message["content"] == content
    assert content.strip() == "Four."


@pytest.mark.parametrize("sent_back", [True, False])
async def test_a_tool_loop_keeps_its_reasoning(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer, *, sent_back: bool
) -> None:
    """Between a call and its result the template shows the reasoning, so the stored ids go on, sent back or not."""
    text = f"<think>\nI look it up.\n</think>\n\n{CALL}"
    scripted.script(*spell(qwen3, text), end_of_turn(qwen3))
    answer = (await ask(thinking, [USER])).model_dump()
    if not sent_back:
        del answer["reasoning"], answer["reasoning_content"]
    result = {"role": "tool", "tool_call_id": "x", "content": "4"}
    await ask(thinking, [USER, answer, result])
    first, second = (request["input_ids"] for request in scripted.requests)
    sampled = (await thinking.store.turns("ep_1"))[0].outputs[0].ids.tolist()
    assert second[: len(first) + len(sampled)] == first + sampled
    assert len(linearize(Trie(await thinking.store.turns("ep_1")))) == 1


THOUGHT = f"<think>\nI look it up.\n</think>\n\n{CALL}"


@pytest.mark.parametrize("carrier", ["header", "episode", "project"])
async def test_verbatim_shows_what_the_client_sent(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer, carrier: str
) -> None:
    """Under `verbatim`, dropped reasoning makes a prompt without it and a branch, whichever way the policy is set."""
    episode, headers = await choose(thinking, carrier)
    scripted.script(*spell(qwen3, THOUGHT), end_of_turn(qwen3))
    scripted.script(*spell(qwen3, "Four."), end_of_turn(qwen3))

    await tool_loop(thinking, episode, headers, reasoning=None)

    assert "I look it up." not in qwen3.decode(scripted.requests[1]["input_ids"])
    assert len(linearize(Trie(await thinking.store.turns(episode)))) == 2
    shown = (await thinking.admin.get(f"/v1/episodes/{episode}")).json()
    assert shown["history"] == "verbatim"


@pytest.mark.parametrize("policy", ["sticky", "verbatim"])
@pytest.mark.parametrize(("reasoning", "num_rows"), [("I look it up.", 1), ("I guess.", 2)])
async def test_reasoning_sent_back_is_taken_at_its_word(
    thinking: Gateway,
    scripted: ScriptedEngine,
    qwen3: Tokenizer,
    *,
    policy: str,
    reasoning: str,
    num_rows: int,
) -> None:
    """Under either policy the same reasoning goes on from the stored ids, and an edited one is a branch that shows it."""
    scripted.script(*spell(qwen3, THOUGHT), end_of_turn(qwen3))
    scripted.script(*spell(qwen3, "Four."), end_of_turn(qwen3))

    await tool_loop(thinking, "ep_1", {"X-Turngate-History": policy}, reasoning=reasoning)

    assert reasoning in qwen3.decode(scripted.requests[1]["input_ids"])
    assert len(linearize(Trie(await thinking.store.turns("ep_1")))) == num_rows


async def test_an_unknown_history_policy_is_refused(thinking: Gateway) -> None:
    """The error names the header and its values; a project keeps its policy until another is set."""
    async with thinking.openai() as client:
        with pytest.raises(BadRequestError, match="sticky or verbatim"):
            await client.chat.completions.create(
                model="policy", messages=[USER], extra_headers={"X-Turngate-History": "loose"}
            )
    await thinking.admin.post("/v1/projects", json={"name": "p", "history": "verbatim"})
    again = await thinking.admin.post("/v1/projects", json={"name": "p"})
    assert again.json()["history"] == "verbatim"


async def choose(served: Gateway, carrier: str) -> tuple[str, dict[str, str]]:
    """An episode that is verbatim by a call's header, by its own opening or by its project."""
    if carrier == "header":
        return "ep_1", {"X-Turngate-History": "verbatim"}
    if carrier == "project":
        project = {"name": served.project, "history": "verbatim"}
        (await served.admin.post("/v1/projects", json=project)).raise_for_status()
        return "ep_1", {}
    opened = await served.admin.post("/v1/episodes", json={"history": "verbatim"})
    assert opened.json()["history"] == "verbatim"
    return opened.json()["id"], {}


async def tool_loop(
    served: Gateway, episode: str, headers: dict[str, str], *, reasoning: str | None
) -> None:
    """A call and its result; the client sends this reasoning back, or none."""
    async with served.openai(path=f"/e/{episode}/v1") as client:
        ask = partial(
            client.chat.completions.create, model="policy", tools=[PRICE], extra_headers=headers
        )
        completion = await ask(messages=[USER])
        answer = completion.choices[0].message.model_dump()
        for name in ("reasoning", "reasoning_content"):
            del answer[name]
        if reasoning is not None:
            answer["reasoning_content"] = reasoning
        result: Any = {"role": "tool", "tool_call_id": "x", "content": "4"}
        await ask(messages=[USER, answer, result])


async def test_a_new_question_strips_the_reasoning(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """When the template drops earlier reasoning the prompt shows what the model now sees, as a branch."""
    scripted.script(*spell(qwen3, "<think>\nEasy.\n</think>\n\nFour."), end_of_turn(qwen3))
    answer = (await ask(thinking, [USER])).model_dump()
    await ask(thinking, [USER, answer, {"role": "user", "content": "And two?"}])
    prompt = qwen3.decode(scripted.requests[1]["input_ids"])
    first, second = await thinking.store.turns("ep_1")
    assert "Easy." not in prompt
    assert "Four." in prompt
    assert len(linearize(Trie([first, second]))) == 2
    assert len(second.context_ids) < len(scripted.requests[1]["input_ids"])
