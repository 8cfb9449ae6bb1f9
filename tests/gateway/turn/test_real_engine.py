"""The gateway in front of the real SGLang: what a script cannot promise."""

import math
from typing import Any

import pytest

from tests.bench.tokens.cache import measure
from tests.gateway.dialects.test_chat import PRICE
from tests.gateways import StartGateway

pytestmark = pytest.mark.engine
USER: Any = [{"role": "user", "content": "What does a melon cost?"}]
EPISODE = {"X-Turngate-Episode": "ep_1"}


async def test_every_way_of_sampling_is_accepted(start_gateway: StartGateway, engine: str) -> None:
    """Truncation, penalties, greedy, stop strings, grammars and forced calls all give a recorded turn."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    ways: list[dict[str, Any]] = [
        {"temperature": 0},
        {"top_p": 0.9},
        {"top_p": 0.9, "temperature": 0},
        {"extra_body": {"top_k": 5}},
        {"extra_body": {"min_p": 0.05}},
        {"frequency_penalty": 0.5, "presence_penalty": 0.5, "logit_bias": {"5": 1}},
        {"stop": ["a", "e"]},
        {"seed": 7, "n": 2},
        {"seed": 2**63 - 1, "n": 2},
        {"seed": -(2**63)},
        {"logprobs": True, "top_logprobs": 3},
        {"extra_body": {"regex": "[a-z]{1,8}"}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": schema},
            }
        },
        {"response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 3},
        {"top_p": 0.9, "logprobs": True, "top_logprobs": 3},
        {"tools": [PRICE], "tool_choice": "required"},
    ]
    async with start_gateway(engine) as served, served.openai() as client:
        for way in ways:
            await client.chat.completions.create(
                model="policy", messages=USER, max_tokens=16, extra_headers=EPISODE, **way
            )
        turns = await served.store.turns("ep_1")
    assert len(turns) == len(ways)
    for turn in turns:
        assert all(math.isfinite(x) for o in turn.outputs for x in o.behavior_logprobs.tolist())


async def test_a_forced_call_always_parses(start_gateway: StartGateway, engine: str) -> None:
    """Even a policy that knows nothing writes a valid call when it is forced to."""
    async with start_gateway(engine) as served, served.openai() as client:
        completion = await client.chat.completions.create(
            model="policy",
            messages=USER,
            tools=[PRICE],
            tool_choice={"type": "function", "function": {"name": "price"}},
            max_tokens=400,
        )
    choice = completion.choices[0]
    assert choice.finish_reason in ("tool_calls", "length")
    if choice.finish_reason == "tool_calls":
        (call,) = choice.message.tool_calls or ()
        assert call.type == "function"
        assert call.function.name == "price"


async def test_every_turn_finds_its_prefix_in_the_cache(
    start_gateway: StartGateway, engine: str
) -> None:
    """Each prompt starts with the very ids that the turn before read and sampled, tool calls and all."""
    async with start_gateway(engine) as served:
        figures = await measure(served)
        attached = await served.metric("turngate_calls_attached_total")
    assert len(figures) >= 10
    assert attached['{how="bridged"}'] == len(figures)
    assert min(figure.ratio for figure in figures) >= 0.95
