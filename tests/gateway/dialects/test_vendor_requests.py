"""Bodies that the vendors' own OpenAPI documents allow: each gets the vendor's reply, or the vendor's error with a 4xx."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from anyio import to_thread
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.schemas import APIOperation

from tests.gateway.dialects.vendor_specs import UNIONS, document, events_of, faults
from tests.gateways import ADMIN_KEY, Gateway
from tests.profiles import per_profile

# The vendor, the place in its document, and its schemas of a body, a reply and an event.
CALLS = {
    "/v1/chat/completions": (
        *("openai", "/chat/completions", "CreateChatCompletionRequest"),
        *("CreateChatCompletionResponse", "CreateChatCompletionStreamResponse"),
    ),
    "/v1/responses": ("openai", "/responses", "CreateResponse", "Response", UNIONS[0]),
    "/v1/completions": (
        *("openai", "/completions", "CreateCompletionRequest"),
        *("CreateCompletionResponse", "CreateCompletionResponse"),
    ),
    "/v1/messages": ("anthropic", "/v1/messages", "CreateMessageParams", "Message", UNIONS[1]),
}

PLAIN: dict[str, Any] = {  # so that more than a few bodies have a prompt that may be sampled from
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"input": "Hi"},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16},
}


def operation(vendor: str, path: str) -> APIOperation:
    """One operation, with the schemas that its body refers to."""
    whole = document(vendor)
    body = whole["paths"][path]["post"]["requestBody"]
    schemas: dict[str, Any] = {}
    waiting = list(references(body))
    while waiting:
        name = waiting.pop()
        if name not in schemas:
            schemas[name] = whole["components"]["schemas"][name]
            waiting += references(schemas[name])
    answered = {"200": {"description": "a reply"}}
    reduced = {
        "openapi": whole["openapi"],
        "info": whole["info"],
        "paths": {path: {"post": {"requestBody": body, "responses": answered}}},
        "components": {"schemas": schemas},
    }
    return schemathesis.openapi.from_dict(reduced)[path]["POST"]


def references(schema: Any) -> Iterator[str]:
    """The names of the schemas that one refers to."""
    if isinstance(schema, list):
        for each in schema:
            yield from references(each)
    elif isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for each in schema.values():
            yield from references(each)


def fields(vendor: str, schema: str) -> set[str]:
    """What a body may have by name; a document allows any other field too, which says little."""
    found = document(vendor)["components"]["schemas"][schema]
    parts = [found, *found.get("allOf", ())]
    own = {name for part in parts for name in part.get("properties", ())}
    referred = (part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part)
    return own.union(*(fields(vendor, each) for each in referred))


def wrong(path: str, answer: httpx.Response) -> list[str]:
    """What is wrong with an answer to a body that the document allows."""
    vendor, _, _, reply, event = CALLS[path]
    if answer.status_code != 200:
        is_refused = 400 <= answer.status_code < 500
        found = [*faults(vendor, "ErrorResponse", answer.json())]
        return found if is_refused else [f"{answer.status_code}", *found]
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return [*faults(vendor, reply, answer.json())]
    return [fault for each in events_of(answer.text) for fault in faults(vendor, event, each)]


def try_bodies(path: str, url: str) -> tuple[list[str], Counter[int]]:
    """The faults found, each with its body, and how often each status came."""
    vendor, place, schema, *_ = CALLS[path]
    known = fields(vendor, schema)
    statuses: Counter[int] = Counter()
    found: list[str] = []
    strategy = operation(vendor, place).as_strategy(generation_mode=GenerationMode.POSITIVE)

    @settings(
        max_examples=per_profile(ci=10, nightly=200),
        derandomize=per_profile(ci=True, nightly=False),
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(strategy, st.booleans())
    def each_is_answered(case: schemathesis.Case, is_plain: bool) -> None:
        assert isinstance(case.body, dict)
        body = {name: value for name, value in case.body.items() if name in known}
        body |= PLAIN[path] if is_plain else {}
        answer = client.post(path, content=json.dumps(body))
        statuses[answer.status_code] += 1
        problems = wrong(path, answer)
        assert not problems, (problems, body)

    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
        try:
            each_is_answered()
        except AssertionError as error:
            found.append(str(error))
    return found, statuses


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", CALLS)
async def test_what_the_vendor_allows_is_answered_in_its_form(served: Gateway, path: str) -> None:
    """No body that is valid for the vendor is a 5xx, and every reply, event and refusal is valid for the vendor."""
    found, statuses = await to_thread.run_sync(try_bodies, path, served.url)
    assert found == []
    assert statuses[200] >= per_profile(ci=1, nightly=20)
