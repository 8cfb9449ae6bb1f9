"""Every reply, event and error of every dialect against the OpenAPI documents of OpenAI and Anthropic."""

from itertools import product
from typing import Any

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn
from tests.gateway.dialects.vendor_specs import all_faults, events_of
from tests.gateways import Gateway
from tests.scripted_engine import Garbage, Length, ScriptedEngine, Step, Stop, Tokens

SCHEMA: Any = {"type": "object", "properties": {"item": {"type": "string"}}}
FUNCTION: Any = {"name": "price", "description": "What it costs.", "parameters": SCHEMA}
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'
USER: Any = [{"role": "user", "content": "Hi"}]
# The vendor, its schema of a reply and of an event, and bodies.
CALLS: Any = {
    "/v1/chat/completions": (
        "openai",
        "CreateChatCompletionResponse",
        "CreateChatCompletionStreamResponse",
        [
            {"messages": USER},
            {
                "messages": USER,
                "tools": [{"type": "function", "function": FUNCTION}],
                "n": 2,
                "logprobs": True,
                "top_logprobs": 2,
                "stream_options": {"include_usage": True},
            },
        ],
    ),
    "/v1/responses": (
        "openai",
        "Response",
        "ResponseStreamEvent",
        [
            {"input": "Hi"},
            {
                "input": USER,
                "tools": [{"type": "function", "strict": False, **FUNCTION}],
                "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
            },
        ],
    ),
    "/v1/completions": (
        "openai",
        "CreateCompletionResponse",
        "CreateCompletionResponse",
        [{"prompt": "Hi"}, {"prompt": [1, 2], "n": 2, "logprobs": 2}],
    ),
    "/v1/messages": (
        "anthropic",
        "Message",
        "MessageStreamEvent",
        [
            {"messages": USER, "max_tokens": 99},
            {
                "messages": USER,
                "max_tokens": 99,
                "stop_sequences": ["STOP"],
                "tools": [{"name": "price", "input_schema": SCHEMA}],
            },
        ],
    ),
}


def scripts(tokenizer: Tokenizer) -> list[tuple[Step, ...]]:
    """Text, reasoning, calls, a stop text, and an output that is cut."""

    def spell(text: str) -> list[Step]:
        ids = tokenizer.encode(text)
        return [Tokens(ids[start : start + 9]) for start in range(0, len(ids), 9)]

    end = end_of_turn(tokenizer)
    thought = "<think>\nHm.\n</think>\n\n"
    return [
        (*spell(f"{thought}Plain words."), end),
        (*spell(f"{thought}I look.\n{CALL}\n{CALL}\nDone."), end),
        (*spell("up to STOP"), Stop("STOP")),
        (Tokens(tokenizer.encode("<think>\nnever")), Length()),
    ]


async def test_replies_and_events_are_the_vendors(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Whole and streamed replies of every kind are valid against the vendor's own schemas."""
    answers: list[tuple[str, str, Any]] = []
    for path, (vendor, reply, event, bodies) in CALLS.items():
        for body, script in product(bodies, scripts(qwen3)):
            scripted.default = script
            asked = {"model": "policy"} | body
            whole = await thinking.admin.post(path, json=asked)
            streamed = await thinking.admin.post(path, json=asked | {"stream": True})
            assert whole.status_code == streamed.status_code == 200, whole.text
            answers.append((vendor, reply, whole.json()))
            answers += [(vendor, event, each) for each in events_of(streamed.text)]
    assert await all_faults(answers) == set()


async def test_errors_are_the_vendors(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Refusals and failures, in mid-stream too, are valid against the vendor's schema of errors."""
    found: list[tuple[str, str, Any]] = []
    for path, (vendor, _, event, (body, *_)) in CALLS.items():
        answers = [
            await thinking.admin.post(path, content=b"{"),
            await thinking.admin.post(path, json=body | {"temperature": "hot"}),
            await thinking.admin.post(path, json=body | {"model": "policy@99"}),
            await thinking.admin.post(path, json=body, headers={"authorization": "Bearer no"}),
            await thinking.admin.get(path),
            await thinking.admin.post(f"{path}/nothing", json={}),
        ]
        found += [(vendor, "ErrorResponse", answer.json()) for answer in answers]
        for _ in range(3):
            scripted.script(Tokens(qwen3.encode("begun")), Garbage())
        streamed = await thinking.admin.post(path, json=body | {"stream": True})
        before, last = events_of(streamed.text)[-2:]
        if event == "ResponseStreamEvent":
            found += [(vendor, event, before), (vendor, event, last)]
        else:
            found.append((vendor, "ErrorResponse", last))
    assert await all_faults(found) == set()


async def test_counts_and_models_are_the_vendors(thinking: Gateway) -> None:
    """The count of a prompt's tokens, the list of models and one model are valid against the vendor's schemas."""
    count = await thinking.admin.post("/v1/messages/count_tokens", json={"messages": USER})
    models = await thinking.admin.get("/v1/models")
    one = await thinking.admin.get("/v1/models/policy")
    found = [
        ("anthropic", "CountMessageTokensResponse", count.json()),
        ("openai", "ListModelsResponse", models.json()),
        ("openai", "Model", one.json()),
    ]
    assert await all_faults(found) == set()
