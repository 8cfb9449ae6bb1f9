"""Tokens that come within a window are one event, in every dialect, and say what the whole reply says."""

import asyncio
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.test_same_turn import DIALECTS, OUTPUTS, events_of, normal
from tests.gateway.dialects.test_streaming import USER, chunks_of
from tests.gateways import StartGateway
from tests.profiles import per_profile
from tests.scripted_engine import ScriptedEngine, Tokens, Wait

LONG_MS = 1000


def cut(ids: list[int], chance: random.Random) -> list[Tokens]:
    """The tokens as an engine with some interval sends them."""
    bounds = sorted({0, len(ids), *(chance.randrange(len(ids)) for _ in range(len(ids) // 2))})
    return [Tokens(ids[a:b]) for a, b in pairwise(bounds)]


@pytest.mark.parametrize("window_ms", [0, 1, LONG_MS])
async def test_any_cut_in_any_window_says_the_same(
    start_gateway: StartGateway,
    scripted: ScriptedEngine,
    qwen3: Tokenizer,
    qwen3_dir: Path,
    window_ms: int,
) -> None:
    """The deltas of a stream add up to the unstreamed reply, however its tokens arrive."""
    chance = random.Random(window_ms)
    starting = start_gateway(scripted, model_dir=qwen3_dir, stream_window_ms=window_ms)
    async with starting as served:
        for _ in range(per_profile(ci=2, nightly=20)):
            ids = qwen3.encode(chance.choice(OUTPUTS))
            for name, spoken in DIALECTS.items():
                scripted.script(Tokens(ids), end_of_turn(qwen3))
                whole = await served.admin.post(spoken.path, json=asked(spoken.body, stream=False))
                scripted.script(*cut(ids, chance), end_of_turn(qwen3))
                stream = await served.admin.post(spoken.path, json=asked(spoken.body, stream=True))
                folded = spoken.folded(list(events_of(stream.text)))
                assert normal(folded) == normal(spoken.whole(whole.json())), name


def asked(body: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    return body | {"model": "policy", "stream": stream}


async def test_a_window_is_one_event_with_all_that_came(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The first token is an event at once; the others are one more, with their text, logprobs and ids together."""
    rest = asyncio.Event()
    first, *others = spell(tokenizer, "Hello there, and good day to you.")
    scripted.script(first, Wait(rest), *others, end_of_turn(tokenizer))
    chunks = []
    async with (
        start_gateway(scripted, stream_window_ms=LONG_MS) as served,
        served.openai() as client,
    ):
        async for chunk in await client.chat.completions.create(
            model="policy",
            messages=USER,
            stream=True,
            logprobs=True,
            extra_body={"return_token_ids": True},
        ):
            chunks.append(chunk.model_dump())
            if chunk.choices[0].logprobs:
                rest.set()
    said = [choice for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
    assert [len(choice["token_ids"]) for choice in said] == [1, len(others) + 1]
    assert [len(choice["logprobs"]["content"]) for choice in said] == [1, len(others) + 1]
    texts = [choice["delta"]["content"] for choice in said]
    assert "".join(texts) == "Hello there, and good day to you."
    assert len(said) == 2


async def test_a_completion_counts_the_characters_of_a_window(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """`text_offset` goes on over tokens that come together."""
    scripted.script(*spell(tokenizer, "one two three four"), end_of_turn(tokenizer))
    body = {"model": "policy", "prompt": "Hi", "stream": True, "logprobs": 0}
    async with start_gateway(scripted, stream_window_ms=LONG_MS) as served:
        answer = await served.admin.post("/v1/completions", json=body)
    shown = [
        choice["logprobs"]
        for event in events_of(answer.text)
        for choice in event["choices"]
        if choice["logprobs"]
    ]
    tokens = [token for each in shown for token in each["tokens"]]
    offsets = [offset for each in shown for offset in each["text_offset"]]
    assert offsets == [len("".join(tokens[:place])) for place in range(len(tokens))]


async def test_the_arguments_of_a_call_are_joined(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A call that comes within a window is one delta of arguments after its start."""
    tool: Any = {"type": "function", "function": {"name": "price", "parameters": {}}}
    call = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'
    scripted.script(*spell(tokenizer, call), end_of_turn(tokenizer))
    async with start_gateway(scripted, stream_window_ms=LONG_MS) as served:
        chunks = await chunks_of(served, tools=[tool])
    deltas = [
        call["function"]["arguments"]
        for chunk in chunks
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    ]
    assert json.loads("".join(deltas)) == {"item": "melon"}
    assert len(deltas) == 2
