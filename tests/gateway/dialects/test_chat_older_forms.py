"""What chat clients sent before tools, and usage in every chunk of a stream."""

import json
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine

CHAT = "/v1/chat/completions"
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'
PRICE = {"name": "price", "parameters": {"type": "object", "properties": {"item": {"type": "string"}}}}  # fmt: skip
ASK: Any = {"role": "user", "content": "What does one melon cost?"}
BODY: Any = {"model": "policy", "functions": [PRICE], "messages": [ASK]}
EPISODE = {"x-turngate-episode": "ep_1"}


def chunks_of(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_functions_are_tools(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """`functions` and `function_call` come back as they were sent, streamed and not, and the next call is continued."""
    scripted.default = (*spell(tokenizer, CALL), end_of_turn(tokenizer))
    whole = await served.admin.post(CHAT, json=BODY, headers=EPISODE)
    (choice,) = whole.json()["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {
        "name": "price",
        "arguments": '{"item": "melon"}',
    }
    assert "tool_calls" not in choice["message"]
    streamed = chunks_of((await served.admin.post(CHAT, json=BODY | {"stream": True})).text)
    deltas = [chunk["choices"][0]["delta"].get("function_call", {}) for chunk in streamed]
    assert deltas[1]["name"] == "price"
    assert "".join(d.get("arguments", "") for d in deltas) == '{"item": "melon"}'
    assert streamed[-1]["choices"][0]["finish_reason"] == "function_call"
    result = {"role": "function", "name": "price", "content": "4"}
    history = [ASK, choice["message"], result]
    after = await served.admin.post(CHAT, json=BODY | {"messages": history}, headers=EPISODE)
    assert after.status_code == 200, after.text
    turns = await served.store.turns("ep_1")
    assert turns[1].anchor is not None
    assert turns[1].anchor.turn_id == turns[0].id


async def test_a_function_can_be_forced(served: Gateway, scripted: ScriptedEngine) -> None:
    """`function_call` names one function, none or auto; a name that is not offered is refused."""
    forced = await served.admin.post(CHAT, json=BODY | {"function_call": {"name": "price"}})
    assert forced.status_code == 200
    tag = json.loads(scripted.requests[0]["sampling_params"]["structural_tag"])
    assert tag["format"]["stop_after_first"] is True
    for choice in ("none", "auto"):
        answer = await served.admin.post(CHAT, json=BODY | {"function_call": choice})
        assert answer.status_code == 200
    refused = await served.admin.post(CHAT, json=BODY | {"function_call": {"name": "other"}})
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("path", "asked"), [(CHAT, {"messages": [ASK]}), ("/v1/completions", {"prompt": "One melon"})]
)
async def test_usage_in_every_chunk(served: Gateway, path: str, asked: Any) -> None:
    """With continuous_usage_stats each chunk counts the tokens so far, and the last one all."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {"model": "policy", "stream": True, "stream_options": options}
    chunks = chunks_of((await served.admin.post(path, json=body | asked)).text)
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert 0 < counts[-2] == counts[-1]
    assert len({chunk["usage"]["prompt_tokens"] for chunk in chunks}) == 1
