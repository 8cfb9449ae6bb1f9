"""Responses of the real SGLang: text, forced calls, structured answers and log-probabilities, streamed and not."""

from typing import Any

import pytest

from tests.gateway.dialects.responses.response_events import (
    BODY,
    PRICE,
    Fold,
    check,
    streamed,
    whole,
)
from tests.gateways import StartGateway

pytestmark = pytest.mark.engine
SCHEMA: Any = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
FORMAT: Any = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
CUSTOM: Any = {"type": "custom", "name": "patch", "description": "Edits."}
WAYS: Any = (
    {},
    {"temperature": 0, "top_logprobs": 2},
    {"tools": [PRICE], "tool_choice": "required", "max_output_tokens": 64},
    {"tools": [PRICE, CUSTOM], "tool_choice": {"type": "custom", "name": "patch"}},
    {"text": {"format": FORMAT}, "max_output_tokens": 64},
)


async def test_every_way_of_asking_gives_a_valid_response(
    start_gateway: StartGateway, engine: str
) -> None:
    """Each object and event is valid, and what a client folds is the last event's output."""
    async with start_gateway(engine) as served:
        for way in WAYS:
            body = BODY | {"max_output_tokens": 12} | way
            response = await whole(served, body)
            events = await streamed(served, body)
            last = events[-1]["response"]
            check(last)
            assert {response["status"], last["status"]} <= {"completed", "incomplete"}
            items = [item | {"status": ""} for item in Fold(events).items]
            assert items == [item | {"status": ""} for item in last["output"]]
            assert last["usage"]["output_tokens"] > 0


async def test_a_conversation_by_ids_hits_the_prefix_cache(
    start_gateway: StartGateway, engine: str
) -> None:
    """A response that names its previous one begins with the very ids that the engine has cached."""
    async with start_gateway(engine) as served:
        first = await whole(served, BODY | {"input": "Tell me all.", "max_output_tokens": 40})
        more = {"previous_response_id": first["id"], "input": "More.", "max_output_tokens": 4}
        second = await whole(served, BODY | more)
    known = first["usage"]["total_tokens"]
    cached = second["usage"]["input_tokens_details"]["cached_tokens"]
    assert known - 8 <= cached <= known
