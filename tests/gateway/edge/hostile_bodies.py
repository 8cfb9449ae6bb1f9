"""Bodies that cost much to read, to render, to encode or to sample, each with what has to become of it."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

USER: Any = [{"role": "user", "content": "Hi"}]
MEGABYTE = 1_000_000


class Hostile(NamedTuple):
    name: str
    body: Callable[[], bytes]


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "policy", "messages": USER} | fields).encode()


def said(content: Any) -> bytes:
    return chat(messages=[{"role": "user", "content": content}])


def text(num_megabytes: int) -> bytes:
    return said("word " * (num_megabytes * MEGABYTE // 5))


def structured(properties: Any, **fields: Any) -> bytes:
    schema = {"type": "object", "properties": properties} | fields
    return chat(response_format={"type": "json_schema", "json_schema": {"schema": schema}})


def any_of(depth: int) -> Any:
    inner: Any = {"type": "string"}
    for _ in range(depth):
        inner = {"anyOf": [{"type": "object", "properties": {name: inner}} for name in "ab"]}
    return inner


def nested_any_of(depth: int) -> Any:
    inner: Any = {"type": "string"}
    for _ in range(depth):
        inner = {"anyOf": [inner, {"type": "null"}]}
    return inner


ENUM = {"enum": [f"value {number}" for number in range(60_000)]}
DEEP = b"[" * 3 * MEGABYTE
TOOL = {"type": "function", "function": {"name": "f", "description": "d" * 200, "parameters": {}}}


HOSTILE_BODIES = (
    Hostile("32 MB of text", lambda: text(32)),
    Hostile("4 MB of text", lambda: text(4)),
    Hostile("4 MB without a space", lambda: said("x" * 4 * MEGABYTE)),
    Hostile("4 MB of spaces", lambda: said(" " * 4 * MEGABYTE + "x")),
    Hostile("200k messages", lambda: chat(messages=[*USER] * 100_000)),
    Hostile("8k messages", lambda: chat(messages=[*USER] * 8_000)),
    Hostile("100k parts", lambda: said([{"type": "text", "text": ""}] * 100_000)),
    Hostile("deep message", lambda: b'{"messages": [{"role": "user", "content": ' + DEEP),
    Hostile("deep unknown field", lambda: b'{"x": ' + DEEP),
    Hostile("1 MB of stop", lambda: chat(stop="x" * MEGABYTE)),
    Hostile("many stops", lambda: chat(stop=["x" * 1000] * 1000)),
    Hostile("n times max_tokens", lambda: chat(n=128, max_tokens=4000)),
    Hostile("10k tools", lambda: chat(tools=[TOOL] * 10_000)),
    Hostile("2 MB of tools", lambda: chat(tools=[TOOL | {"x": "y" * 10_000}] * 200)),
    Hostile("20 MB of metadata", lambda: chat(metadata={"x": "y" * 20 * MEGABYTE})),
    Hostile("3 MB of metadata", lambda: chat(metadata=dict.fromkeys(map(str, range(250_000))))),
    Hostile("1 MB of template arguments", lambda: chat(chat_template_kwargs={"x": "y" * MEGABYTE})),
    Hostile("logit_bias of 1e308", lambda: chat(logit_bias={"1": 1e308})),
    Hostile(
        "100k biased tokens", lambda: chat(logit_bias=dict.fromkeys(map(str, range(100_000)), 1))
    ),
    Hostile("8 enums of 60k values", lambda: structured({str(i): ENUM for i in range(8)})),
    Hostile("4k values", lambda: structured({"x": {"enum": list(range(4000))}})),
    Hostile("anyOf 14 deep", lambda: structured({"x": any_of(14)})),
    Hostile("anyOf 30 deep", lambda: structured({"x": nested_any_of(30)})),
    Hostile("a schema that is itself", lambda: structured({}, **{"$ref": "#"})),
    Hostile("1 MB of ebnf", lambda: chat(ebnf="root ::= " + " | ".join(['"a"'] * 200_000))),
    Hostile("nested repetitions", lambda: chat(regex="((((a{1000}){1000}){1000}){1000})")),
    Hostile("nested patterns", lambda: structured({"x": {"pattern": "((a{999}){999}){999}"}})),
    Hostile("100k stop ids", lambda: chat(stop_token_ids=[1] * 100_000)),
)
