"""Every call of the gateway: FastAPI's own OpenAPI document, and the model endpoints that it cannot see."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import msgspec
from fastapi.routing import APIRoute

from docs.generate import chat_fields, completions_fields, messages_fields, responses_fields
from docs.generate.markdown import code, table
from docs.generate.schema_types import default, kind, record, shown
from gateway.api import (
    admin_responses,
    administration,
    episodes,
    health,
    models,
    policies,
    requests,
    responses,
    rewards,
)
from gateway.api.areal import sessions
from gateway.api.areal.sessions import SessionCaller
from gateway.api.dependencies import Admin, ModelViewer, Observer, Opener, Rewarder, Viewer
from gateway.app import create_app
from gateway.dialects.chat.body import ChatBody
from gateway.dialects.completions.body import CompletionsBody
from gateway.dialects.messages.body import MessagesBody, PromptBody
from gateway.dialects.responses.body import ResponsesBody

Json = dict[str, Any]
CONTROL = (episodes, rewards, models, policies, administration, health, sessions)
SCOPES = {
    Opener: "infer",
    ModelViewer: "infer or observe",
    Rewarder: "reward",
    SessionCaller: "reward",
    Viewer: "read or observe",
    Observer: "admin or observe",
    Admin: "admin",
}


class ModelCall(NamedTuple):
    """A model endpoint, which FastAPI cannot see."""

    body: type
    meanings: Mapping[str, str]  # of the body's fields
    summary: str
    answer: str


MODEL_CALLS: Mapping[str, ModelCall] = {
    "/v1/chat/completions": ModelCall(
        ChatBody,
        chat_fields.MEANINGS,
        "Take a turn in OpenAI's chat format",
        "OpenAI's `chat.completion`, or its chunks as server-sent events with `stream`: [what the gateway adds](calling.md#what-a-reply-carries).",
    ),
    "/v1/responses": ModelCall(
        ResponsesBody,
        responses_fields.MEANINGS,
        "Take a turn in OpenAI's Responses format",
        "OpenAI's `response`, or its events with `stream`: [what it supports](dialects.md#responses).",
    ),
    "/v1/messages": ModelCall(
        MessagesBody,
        messages_fields.MEANINGS,
        "Take a turn in Anthropic's Messages format",
        "Anthropic's `message`, or its events with `stream`: [what it supports](dialects.md#messages).",
    ),
    "/v1/messages/count_tokens": ModelCall(
        PromptBody,
        messages_fields.PROMPT,
        "Count the tokens of the prompt that a Messages body makes; nothing is sampled or recorded",
        "`input_tokens`",
    ),
    "/v1/completions": ModelCall(
        CompletionsBody,
        completions_fields.MEANINGS,
        "Take a turn from text or token ids, without a chat template",
        "OpenAI's `text_completion`, or its chunks as server-sent events with `stream`: [what it supports](dialects.md#completions).",
    ),
}
COMMENT = re.compile(r"^    (\w+):.*?  # (.*)$", re.MULTILINE)
ERROR: Json = {"$ref": "#/components/schemas/ErrorBody"}
INTRO = """\
# HTTP calls

Keys and scopes, how a call names its episode, streams, retries and errors are the same everywhere: see [calling the gateway](calling.md). The whole interface as one document:
[`openapi.json`](openapi.json). This page is generated from the code.
"""


@cache
def openapi() -> Json:
    """The document with every call in it, and errors in the shape that they have."""
    services: Any = None  # nothing is called
    found: Json = create_app(services, {}).openapi()
    schemas = found["components"]["schemas"]
    for path, call in MODEL_CALLS.items():
        (reference,), parts = msgspec.json.schema_components(
            [call.body], ref_template="#/components/schemas/{name}"
        )
        schemas.update(parts)
        content = {"application/json": {"schema": reference}}
        operation = {
            "summary": call.summary,
            "requestBody": {"content": content},
            "responses": {"200": {"description": call.answer}},
        }
        found["paths"] = {path: {"post": operation}} | found["paths"]
    return found


def document() -> str:
    return json.dumps(openapi(), indent=1)


def page() -> str:
    return "\n".join(
        [
            INTRO,
            table(("call", "scope", "meaning"), summary()),
            "",
            *calls(),
            "## Records\n",
            *records(),
        ]
    )


def summary() -> Iterator[tuple[str, str, str]]:
    scopes = scope_of()
    for method, path, operation in operations(openapi()):
        yield (
            f"[`{method} {path}`](#{anchor(method, path)})",
            scopes.get((method, path), ""),
            meaning(operation),
        )
    yield "`HEAD /`", "", "Answer runtimes that ask whether the server is there"
    yield "`GET /metrics`", "", "What Prometheus reads, [on a listener of its own](metrics.md)"


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def scope_of() -> dict[tuple[str, str], str]:
    """The scope that a call's key must have, by method and path."""
    scopes = {("POST", path): "infer" for path in MODEL_CALLS}
    for route in (
        route for part in CONTROL for route in part.router.routes if isinstance(route, APIRoute)
    ):
        caller = inspect.signature(route.endpoint).parameters.get("caller")
        if caller is not None:
            scopes |= {(method, route.path): SCOPES[caller.annotation] for method in route.methods}
    return scopes


def meaning(operation: Json) -> str:
    text = str(operation.get("description") or operation["summary"])
    return text.split("\n\n", maxsplit=1)[0].replace("\n", " ").rstrip(".")


def anchor(method: str, path: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{method} {path}".lower()).strip("-")


def calls() -> Iterator[str]:
    scopes = scope_of()
    for method, path, operation in operations(openapi()):
        yield f"## {method} {path} {{ #{anchor(method, path)} }}\n"
        yield str(operation.get("description") or operation["summary"]) + "\n"
        if scope := scopes.get((method, path)):
            yield f"Needs a key with the scope {scope}.\n"
        if parameters := operation.get("parameters"):
            yield table(("parameter", "in", "type", "default"), map(parameter, parameters)) + "\n"
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            yield f"Body: {kind(schema)}\n"
        answers = operation["responses"].items()
        errors = sorted(status for status, content in answers if schema_of(content) == ERROR)
        yield from (answer(each) for each in answers if each[0] not in errors)
        if errors:
            yield f"Errors: {', '.join(errors)}, each with an {kind(ERROR)}\n"


def parameter(given: Json) -> tuple[str, str, str, str]:
    schema = given["schema"]
    return code(given["name"]), given["in"], kind(schema), default(schema)


def answer(response: tuple[str, Json]) -> str:
    status, content = response
    schema = schema_of(content)
    return f"Answers {status}: {kind(schema) if schema else content['description']}\n"


def schema_of(content: Json) -> Json | None:
    found: Json | None = content.get("content", {}).get("application/json", {}).get("schema")
    return found


def records() -> Iterator[str]:
    """Every record that a call takes or gives, field by field."""
    for name, schema in sorted(openapi()["components"]["schemas"].items()):
        yield f"### {shown(name)} {{ #{record(name)} }}\n"
        yield f"{description}\n" if (description := schema.get("description", "")) else ""
        if "enum" in schema:
            yield "One of " + ", ".join(map(code, schema["enum"])) + ".\n"
        elif "properties" in schema:
            required = set(schema.get("required", ()))
            meanings = comments(name)
            yield (
                table(
                    ("field", "type", "default", "meaning"),
                    (
                        (
                            code(field),
                            kind(its),
                            default(its) or ("required" if field in required else ""),
                            meanings.get(field, ""),
                        )
                        for field, its in schema["properties"].items()
                    ),
                )
                + "\n"
            )


def comments(name: str) -> Mapping[str, str]:
    """What the source says beside each field."""
    for call in MODEL_CALLS.values():
        if call.body.__name__ == name:
            return call.meanings
    for module in (requests, responses, admin_responses):
        if isinstance(record := getattr(module, name, None), type):
            return dict(COMMENT.findall(inspect.getsource(record)))
    return {}
