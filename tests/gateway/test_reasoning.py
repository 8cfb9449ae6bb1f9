"""A reasoning model with the real Qwen3 template: what it thought is streamed apart, reused, or branched away from."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rollout.sequences import linearize
from rollout.tokenizer import Tokenizer
from rollout.trie import Trie
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.scripted_engine import ScriptedEngine
from tests.gateway.test_chat import CALL, PRICE
from tests.gateways import Gateway, StartGateway
from tests.rollout.families import source
from tests.rollout.model_directory import byte_level_bpe, write_model_directory

USER: Any = {"role": "user", "content": "What does a melon cost?"}
EPISODE = {"X-Turngate-Episode": "ep_1"}


@pytest.fixture(scope="module")
def qwen3_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bpe = byte_level_bpe()
    return write_model_directory(
        tmp_path_factory.mktemp("qwen3"),
        bpe,
        chat_template=source("qwen3"),
        eos="<|im_end|>",
        config={"eos_token_id": [bpe.token_to_id("<|im_end|>")]},
        bos="<|endoftext|>",
    )


@pytest.fixture(scope="module")
def qwen3(qwen3_dir: Path) -> Tokenizer:
    return Tokenizer.load(qwen3_dir)


@pytest.fixture
async def thinking(
    start_gateway: StartGateway, scripted: ScriptedEngine, qwen3_dir: Path
) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted, model_dir=qwen3_dir) as running:
        yield running


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
