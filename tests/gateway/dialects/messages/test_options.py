"""The options of a Messages body, and the count of its tokens."""

import json
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.dialects.messages.bodies import (
    BODY,
    PRICE,
    USER,
)
from tests.gateways import Gateway
from tests.scripted_engine import (
    Length,
    ScriptedEngine,
    Stop,
    Tokens,
)


async def test_options_reach_the_engine(served: Gateway, scripted: ScriptedEngine) -> None:
    """Sampling options, stop sequences and a structured answer arrive under the engine's names."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    async with served.anthropic() as client:
        await client.messages.create(
            **BODY,
            stop_sequences=["END"],
            output_config={"format": {"type": "json_schema", "schema": schema}, "effort": "max"},
            metadata={"user_id": "someone"},
            extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 7, "service_tier": "auto"},
        )
    asked = scripted.requests[0]["sampling_params"]
    assert json.loads(asked.pop("json_schema")) == schema
    assert asked == {
        "max_new_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "stop": ["END"],
    }


@pytest.mark.parametrize(
    ("choice", "single"),
    [
        ({"type": "any"}, False),
        ({"type": "any", "disable_parallel_tool_use": True}, True),
        ({"type": "tool", "name": "price"}, True),
    ],
)
async def test_a_forced_call_is_constrained(
    served: Gateway, scripted: ScriptedEngine, choice: Any, *, single: bool
) -> None:
    """A forced choice is a grammar; with `disable_parallel_tool_use` it allows one call."""
    async with served.anthropic() as client:
        await client.messages.create(**BODY, tools=[PRICE], tool_choice=choice)
    tag = json.loads(scripted.requests[0]["sampling_params"]["structural_tag"])
    assert tag["format"]["at_least_one"] is True
    assert bool(tag["format"].get("stop_after_first")) is single


async def test_a_stop_sequence_is_named(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The reply says which of the caller's sequences ended it; `max_tokens` says that it was cut."""
    scripted.script(Tokens(tokenizer.encode("one END")), Stop("END"))
    scripted.script(Tokens(tokenizer.encode("one")), Length())
    async with served.anthropic(_strict_response_validation=True) as client:
        stopped = await client.messages.create(**BODY, stop_sequences=["STOP", "END"])
        cut = await client.messages.create(**BODY)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END")
    assert (cut.stop_reason, cut.stop_sequence) == ("max_tokens", None)


async def test_a_prefill_is_continued(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A last message of the assistant is the beginning of the reply."""
    messages: Any = [*USER, {"role": "assistant", "content": "I say:"}]
    async with served.anthropic(path="/e/ep_1") as client:
        await client.messages.create(**{**BODY, "messages": messages})
    (turn,) = await served.store.turns("ep_1")
    assert tokenizer.decode(scripted.requests[0]["input_ids"]).endswith("assistant\nI say:")
    assert turn.forced == len(tokenizer.encode("I say:"))


async def test_thinking_can_be_switched_off(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """`disabled` reaches the template, which closes the thought; `enabled` and `adaptive` leave it to the model."""
    async with thinking.anthropic() as client:
        for kind in ({"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024}):
            await client.messages.create(**BODY, thinking=kind)
    off, on = (qwen3.decode(request["input_ids"]) for request in scripted.requests)
    assert off.endswith("<think>\n\n</think>\n\n")
    assert on.endswith("assistant\n")


async def test_tokens_are_counted_as_a_call_reads_them(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """The count is the prompt's, nested results and tools too, and leaves no episode and no sample."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "3"}]}
    call = {"type": "tool_use", "id": "t", "name": "price", "input": {}}
    messages: Any = [
        *USER,
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
    ]
    prompt: Any = {"model": "policy", "messages": messages, "system": "Be brief.", "tools": [PRICE]}
    async with served.anthropic() as client:
        counted = await client.messages.count_tokens(**prompt)
        assert scripted.requests == []
        assert (await served.admin.get("/v1/episodes")).json()["data"] == []
        message = await client.messages.create(**prompt, max_tokens=64)
    assert counted.input_tokens == message.usage.input_tokens
    assert counted.input_tokens == len(scripted.requests[0]["input_ids"])
