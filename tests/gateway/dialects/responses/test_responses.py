"""Responses through the stock SDK: the options reach the engine, its output comes back as items."""

from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.responses.response_events import (
    BODY,
    CALL,
    PRICE,
    Fold,
    check,
    streamed,
    whole,
    without_ids,
)
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import Length, ScriptedEngine, Step, Tokens, running_engine


async def test_a_reply_is_what_the_engine_said(served: Gateway) -> None:
    """An unstreamed response carries the text, its status and the token counts of the engine's answer."""
    async with served.openai(_strict_response_validation=True) as client:
        response = await client.responses.create(model="policy", input="Hi")
    assert (response.output_text, response.status) == ("Hello there.", "completed")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.id.startswith("resp_turn_")
    check(response.model_dump(by_alias=True, exclude_unset=True))


TEXTS = [
    "Plain words.",
    "naïve 漢字 🙂 end",
    f"I look.\n{CALL}",
    f"{CALL}\n{CALL}",
    "<tool_call>\n{not json}\n</tool_call> after",
    "",
]


@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize("text", TEXTS)
async def test_a_stream_folds_to_the_unstreamed_reply(
    start_gateway: StartGateway, tokenizer: Tokenizer, text: str, *, incremental: bool
) -> None:
    """For the same token ids the deltas, the last event and the unstreamed reply say the same, cut anywhere."""
    body: Any = BODY | {
        "tools": [PRICE],
        "top_logprobs": 2,
        "include": ["message.output_text.logprobs"],
    }
    async with (
        running_engine(incremental=incremental) as scripted,
        start_gateway(scripted) as served,
    ):
        for _ in range(2):
            scripted.script(*spell(tokenizer, text), end_of_turn(tokenizer))
        events = await streamed(served, body)
        unstreamed = await whole(served, body)
    last = events[-1]["response"]
    assert events[-1]["type"] == "response.completed"
    check(last)
    assert Fold(events).items == last["output"]
    assert without_ids(last) == without_ids(unstreamed)


@pytest.mark.parametrize("text", ["<think>\nHm, well.\n</think>\n\nSo.", "<think>\nHm</think>"])
@pytest.mark.parametrize("summary", [None, "auto"])
async def test_reasoning_is_an_item_of_its_own(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer, text: str, summary: str | None
) -> None:
    """Reasoning comes first, as text or as its own summary, streamed as unstreamed, and is counted in the usage."""
    body: Any = BODY | {
        "reasoning": {"summary": summary},
        "include": ["reasoning.encrypted_content"],
    }
    for _ in range(2):
        scripted.script(*spell(qwen3, text), end_of_turn(qwen3))
    events = await streamed(thinking, body)
    unstreamed = await whole(thinking, body)
    last = events[-1]["response"]
    check(last)
    reasoning, message = last["output"]
    shown = reasoning["summary" if summary else "content"]
    assert [part["text"] for part in shown] == ["Hm, well." if "So." in text else "Hm"]
    assert message["content"][0]["text"] == ("So." if "So." in text else "")
    assert reasoning["encrypted_content"]
    assert Fold(events).items == last["output"]
    assert without_ids(last) == without_ids(unstreamed)
    assert 0 < last["usage"]["output_tokens_details"]["reasoning_tokens"] < 10


async def test_an_output_cut_by_length_is_incomplete(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A response that ends by `max_output_tokens` says so, in its last event and in its last item."""
    steps: list[Step] = [Tokens(tokenizer.encode("and then")), Length()]
    for _ in range(2):
        scripted.script(*steps)
    body = BODY | {"max_output_tokens": 2}
    events = await streamed(served, body)
    unstreamed = await whole(served, body)
    assert events[-1]["type"] == "response.incomplete"
    assert unstreamed["incomplete_details"] == {"reason": "max_output_tokens"}
    assert unstreamed["output"][0]["status"] == "incomplete"
    assert without_ids(events[-1]["response"]) == without_ids(unstreamed)
