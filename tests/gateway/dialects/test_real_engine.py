"""Messages and completions in front of the real SGLang: what a script cannot promise."""

from typing import Any

import pytest

from tests.gateways import StartGateway

pytestmark = pytest.mark.engine
USER: Any = [{"role": "user", "content": "What does a melon cost?"}]
SCHEMA: Any = {
    "type": "object",
    "properties": {"item": {"type": "string", "maxLength": 8}},
    "required": ["item"],
    "additionalProperties": False,
}
PRICE: Any = {"name": "price", "description": "What it costs.", "input_schema": SCHEMA}
BODY: Any = {"model": "policy", "max_tokens": 48, "messages": USER}


async def test_messages_of_a_real_engine(start_gateway: StartGateway, engine: str) -> None:
    """Text, a forced call with its result, and a structured answer, streamed and not, are valid and continue the record."""
    ways: list[dict[str, Any]] = [
        {"tools": [PRICE], "tool_choice": {"type": "tool", "name": "price"}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "max_tokens": 8,
            "stop_sequences": ["a", "e"],
            # The likeliest token each time, or one of two samples may have no text and so no block.
            "extra_body": {"temperature": 0.5, "top_k": 1},
        },
    ]
    async with (
        start_gateway(engine) as served,
        served.anthropic(path="/e/ep_1", _strict_response_validation=True) as client,
    ):
        for way in ways:
            asked = BODY | way
            whole = await client.messages.create(**asked)
            async with client.messages.stream(**asked) as stream:
                folded = await stream.get_final_message()
            assert whole.usage.output_tokens > 0
            assert [b.type for b in folded.content] == [b.type for b in whole.content]
            if "stop_sequences" in way:
                assert [b.text for b in folded.content] == [b.text for b in whole.content]
            call = next((b for b in folded.content if b.type == "tool_use"), None)
            if "tools" not in way or call is None:
                continue
            assert folded.stop_reason in ("tool_use", "max_tokens")
            result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "3"}
            history = [*USER, folded.to_param(), {"role": "user", "content": [result]}]
            await client.messages.create(**asked | {"messages": history, "max_tokens": 4})
        attached = await served.metric("turngate_calls_attached_total")
        turns = await served.store.turns("ep_1")
    assert len(turns) == 2 * len(ways) + 1
    assert attached['{how="bridged"}'] == 1


async def test_completions_of_a_real_engine(start_gateway: StartGateway, engine: str) -> None:
    """An output that comes back in the next prompt is read as it was sampled, and found in the engine's cache."""
    async with start_gateway(engine) as served, served.openai(path="/e/ep_1/v1") as client:
        first = await client.completions.create(model="policy", prompt="A melon", max_tokens=32)
        text = f"A melon{first.choices[0].text} costs"
        again = await client.completions.create(model="policy", prompt=text, max_tokens=4)
        turns = await served.store.turns("ep_1")
    assert turns[1].anchor is not None
    assert turns[1].anchor.turn_id == turns[0].id
    assert turns[1].anchor.output == 0
    assert again.usage is not None
    assert again.usage.prompt_tokens == len(turns[0].context_ids) + turns[1].anchor.offset + len(
        turns[1].context_ids
    )
