"""Large calls that are all right are served, one after the other in a fair order, while small ones go on."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.errors import TooMany
from gateway.turn.large_calls import MAX_WAITING, LargeCalls
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.edge.bystander import CHAT, Bystander, bystander, goes_on
from tests.gateways import StartGateway
from tests.rollout.model_directory import byte_level_bpe, write_model_directory
from tests.rollout.shipped_templates import source
from tests.scripted_engine import ScriptedEngine

WORDS = "A sentence of seven words, naïve too. \n" * 10_000  # 400 KB


async def test_keys_take_turns() -> None:
    """A key with many large calls waits for the others after each of its own."""
    calls, order = LargeCalls(), list[str]()

    async def work(key: str) -> None:
        async with calls.turn(key):
            order.append(key)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for key in ("a", "a", "a", "a", "b", "c", "b"):
            tasks.create_task(work(key))
    assert order == ["a", "a", "b", "c", "a", "b", "a"]


async def test_a_call_that_leaves_passes_its_turn_on() -> None:
    """Cancelled while it waits or while it works, it holds up nobody."""
    calls, done = LargeCalls(), list[str]()

    async def work(key: str) -> None:
        async with calls.turn(key):
            await asyncio.sleep(0.01)
            done.append(key)

    tasks = [asyncio.create_task(work(key)) for key in ("a", "b", "c", "a")]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert done == ["c", "a"]
    async with asyncio.timeout(5), calls.turn("d"):
        assert len(done) == 2


async def test_the_waiting_calls_of_a_key_are_limited() -> None:
    """Beyond the limit a key is told to come back; another key still waits for its turn."""
    calls = LargeCalls()

    async def wait(key: str) -> None:
        async with calls.turn(key):
            pass

    async with calls.turn("a"):
        waiting = [asyncio.create_task(wait("a")) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await wait("a")
        other = asyncio.create_task(wait("b"))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting, other)


async def test_a_long_prompt_is_served_beside_small_calls(
    start_gateway: StartGateway, scripted: ScriptedEngine, tmp_path: Path
) -> None:
    """Hundreds of kilobytes are encoded as in one piece, again from the cache, and nobody waits for them."""
    bpe = byte_level_bpe()
    directory = write_model_directory(
        tmp_path,
        bpe,
        chat_template=source("qwen3"),
        eos="<|im_end|>",
        config={
            "eos_token_id": [bpe.token_to_id("<|im_end|>")],
            "max_position_embeddings": 2_000_000,
        },
        bos="<|endoftext|>",
    )
    tokenizer = Tokenizer.load(directory)
    said = {"role": "user", "content": WORDS}
    body = json.dumps({"messages": [said], "return_token_ids": True, "max_tokens": 8}).encode()
    async with start_gateway(scripted, model_dir=directory) as served:

        async def attempt() -> Bystander:
            headers = {"content-type": "application/json"}
            async with bystander(served) as watching:
                answers = [
                    await served.admin.post(CHAT, content=body, headers=headers) for _ in range(2)
                ]
            for answer in answers:
                assert answer.status_code == 200, answer.text[:300]
                shown = tokenizer.decode(answer.json()["prompt_token_ids"])
                assert shown.count(WORDS) == 1
                assert tokenizer.encode(shown) == answer.json()["prompt_token_ids"]
            return watching

        assert await goes_on(attempt)
