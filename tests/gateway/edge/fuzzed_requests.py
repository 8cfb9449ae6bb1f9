"""Valid requests to every door, and what chance makes of them. The same seed gives the same requests."""

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.gateways import ADMIN_KEY

PIXEL = "data:image/png;base64,iVBORw0KGgo="
USER = {"role": "user", "content": "Hi, naïve 🙂"}
FUNCTION = {
    "name": "price",
    "description": "d",
    "parameters": {
        "type": "object",
        "properties": {"item": {"type": "string", "enum": ["a", "b"]}},
    },
}
TOOL = {"type": "function", "function": FUNCTION}
CALLED = {
    "role": "assistant",
    "content": None,
    "reasoning_content": "so",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "price", "arguments": '{"item": 1}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "33"}]}
CHAT: Any = {"model": "policy", "messages": [USER], "max_tokens": 3}
FULL_CHAT: Any = CHAT | {
    "messages": [{"role": "system", "content": "Be terse."}, USER, CALLED, RESULT],
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 2,
    "seed": 7,
    "stop": ["END"],
    "logprobs": True,
    "top_logprobs": 2,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 5,
    "min_p": 0.1,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "repetition_penalty": 1.1,
    "logit_bias": {"5": -1.0},
    "min_tokens": 1,
    "stop_token_ids": [4],
    "ignore_eos": False,
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": False},
    "continue_final_message": False,
    "return_token_ids": True,
    "metadata": {"episode_id": "ep_f3"},
    "session_id": "ep_f3",
}
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
IMAGE: Any = {"type": "image_url", "image_url": {"url": PIXEL}}
REWARD: Any = {"value": 1.0, "name": "reward", "idempotency_key": "k", "complete": False}
V1 = "/v1/chat/completions"
DOORS: tuple[tuple[str, str, Any], ...] = (
    ("POST", V1, CHAT),
    ("POST", V1, FULL_CHAT),
    ("POST", V1, FULL_CHAT | {"stream": False}),
    ("POST", V1, CHAT | {"response_format": SCHEMA}),
    ("POST", V1, CHAT | {"regex": "[a-z]{1,9}(b|c)*"}),
    ("POST", V1, CHAT | {"ebnf": 'root ::= "a" | "b"'}),
    ("POST", V1, CHAT | {"tools": [TOOL], "tool_choice": {"function": {"name": "price"}}}),
    ("POST", V1, CHAT | {"messages": [{"role": "user", "content": [IMAGE]}]}),
    ("POST", "/e/ep_f1" + V1, CHAT),
    ("POST", "/v1/episodes", {}),
    (
        "POST",
        "/v1/episodes",
        {
            "task_id": "t",
            "group_id": "g",
            "group_size": 2,
            "reward_deadline_seconds": 5.0,
            "metadata": {"a": 1},
        },
    ),
    ("GET", "/v1/episodes?status=open&group_id=g&task_id=t&after=ep_f1&limit=5", None),
    ("GET", "/v1/episodes/ep_f1?view=tokens", None),
    ("GET", "/v1/episodes/ep_f1?view=sequences", None),
    ("GET", "/v1/episodes/ep_f3", None),
    ("GET", "/v1/groups/g", None),
    ("POST", "/v1/episodes/ep_f1/rewards", REWARD | {"turn_id": "turn_1", "choice_index": 0}),
    ("POST", "/v1/rewards", REWARD | {"episode_id": "ep_f1"}),
    ("POST", "/v1/rewards", [REWARD | {"completion_id": "chatcmpl-turn_1"}, REWARD]),
    ("POST", "/v1/episodes/ep_f2/complete", {"status": "succeeded", "truncated": False}),
    ("DELETE", "/v1/episodes/ep_f2", None),
    (
        "POST",
        "/v1/keys",
        {"project": "default", "name": "n", "scopes": ["infer"], "max_concurrent": 2},
    ),
    ("GET", "/v1/keys", None),
    ("DELETE", "/v1/keys/key_1", None),
    ("POST", "/v1/projects", {"name": "p-1", "history": "sticky"}),
    ("GET", "/v1/projects", None),
    ("GET", "/v1/models/policy@3", None),
    ("GET", "/v1/policies/3", None),
    ("GET", "/v1/policies", None),
    ("POST", "/v1/policies/3/activate", {}),
    ("POST", "/v1/training/pause", {}),
    ("POST", "/v1/training/resume", {}),
    ("GET", "/v1/training", None),
    ("HEAD", "/", None),
    ("OPTIONS", V1, None),
    ("GET", "/readyz", None),
)
HEADERS = (
    "x-turngate-episode",
    "x-turngate-group",
    "x-turngate-group-size",
    "x-turngate-turn-kind",
    "x-turngate-history",
    "x-turngate-project",
    "x-session-id",
    "idempotency-key",
    "x-stainless-retry-count",
    "x-request-id",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "user-agent",
    "origin",
    "access-control-request-method",
    "authorization",
    "x-api-key",
    "expect",
    "range",
    "if-none-match",
    "cookie",
)
TOKENS = (
    b"null", b"true", b"-1", b"0", b"1e308", b"1e999", b"-1e999", b"NaN", b"Infinity", b"1" * 400, b"9223372036854775808",
    b"18446744073709551616", b"1.5", b"[]", b"{}", b'""', b'"a"', b'"\\ud800"', b'"\\u0000"', b'"\xff"', b'"caf\xe9"',
    b'"\xed\xa0\xbd"', b"[[[[[[[[", b"[" * 2000, b'{"a":' * 600, b"[1,]", b'{"$ref": "#"}', b'"' + b"x" * 5000 + b'"',
    b'{"function": {"name": "price"}}', b'"\\u202e"', b"-0", b"1E400", b"\x00", b"\xef\xbb\xbf",
)  # fmt: skip
ODD_TEXTS = (
    b"", b"0", b"-1", b"1e9", b"a:b", b"ep_f1:rewards", b"../..", b"%2e%2e", b"%00", b"%ff", b"%0a", b"\xe9", b"x" * 300, b"{}",
    b"ep_f2", b"*", b"a b", b"%", b"%zz", b"true", b"side", b"gzip", b"deflate", b"br", b"identity", b"100-continue",
    b"Bearer x", b"Bearer ", b"\xff\xfe", b"99999999999999999999", b"verbatim", b"key_1", b"policy@", b"policy@1e5",
)  # fmt: skip


class Fuzzed(NamedTuple):
    method: bytes
    data: bytes  # as it is sent


def fuzzed_requests(seed: int) -> Iterator[Fuzzed]:
    """Endless, from every door in turn."""
    chance = random.Random(seed)
    while True:
        for method, path, body in DOORS:
            yield _fuzzed(chance, method.encode(), path.encode(), body)


def _fuzzed(chance: random.Random, method: bytes, path: bytes, body: Any) -> Fuzzed:
    content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    for _ in range(chance.choice((1, 1, 1, 2, 3)) if content else 0):
        content = chance.choice(CHANGES)(chance, content)
    headers = [(b"authorization", f"Bearer {ADMIN_KEY}".encode())]
    if chance.random() < 0.9:
        headers.append((b"content-type", b"application/json"))
    while chance.random() < 0.3:
        headers.append((chance.choice(HEADERS).encode(), chance.choice(ODD_TEXTS)))
    if chance.random() < 0.1 or not content:
        path = _changed_path(chance, path)
    if chance.random() < 0.02:
        method = chance.choice((b"PUT", b"PATCH", b"DELETE", b"GET", b"POST", b"HEAD"))
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    head = b"%b %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % (method, path, len(content))
    return Fuzzed(method, head + lines + b"\r\n" + content)


def _changed_path(chance: random.Random, path: bytes) -> bytes:
    parts = path.split(b"/")
    parts[chance.randrange(1, len(parts))] = chance.choice(ODD_TEXTS)
    changed = b"/".join(parts)
    kind = chance.randrange(6)
    if kind == 0:
        changed = b"/e/" + chance.choice(ODD_TEXTS) + path
    elif kind == 1:
        changed = (
            path
            + b"?"
            + chance.choice((b"limit", b"after", b"view"))
            + b"="
            + chance.choice(ODD_TEXTS)
        )
    elif kind == 2:
        changed = b"/" + path
    return changed.replace(b" ", b"%20")


def _flip(chance: random.Random, content: bytes) -> bytes:
    place = chance.randrange(len(content) or 1)
    return content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]


def _cut(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _insert(chance: random.Random, content: bytes) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + chance.choice(TOKENS) + content[place:]


def _repeat(chance: random.Random, content: bytes) -> bytes:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.randrange(1, 80))
    return content[:end] + content[start:]


def _replace_value(chance: random.Random, content: bytes) -> bytes:
    """Another value for a random field, at any depth."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return _flip(chance, content)
    places: list[tuple[Any, Any]] = []
    rest = [tree]
    while rest:
        node = rest.pop()
        keys = (
            list(node)
            if isinstance(node, dict)
            else range(len(node) if isinstance(node, list) else 0)
        )
        places += [(node, key) for key in keys]
        rest += [node[key] for key in keys]
    if not places:
        return chance.choice(TOKENS)
    node, key = chance.choice(places)
    if chance.random() < 0.2 and isinstance(node, dict):
        node[key + "\u0000"] = node.pop(key)
        return json.dumps(tree).encode()
    node[key] = "HERE"
    text = json.dumps(tree, ensure_ascii=False).encode(errors="replace")
    return text.replace(b'"HERE"', chance.choice(TOKENS), 1)


def _add_twin(chance: random.Random, content: bytes) -> bytes:
    """A field that is there twice."""
    name = chance.choice(
        (b'"messages"', b'"value"', b'"model"', b'"metadata"', b'"n"', b'"episode_id"')
    )
    return content.replace(b"{", b"{" + name + b": " + chance.choice(TOKENS) + b", ", 1)


CHANGES = (_flip, _cut, _insert, _repeat, _replace_value, _replace_value, _replace_value, _add_twin)
