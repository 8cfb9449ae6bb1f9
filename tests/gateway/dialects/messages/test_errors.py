"""What a Messages call is refused with, in Anthropic's words."""

import base64
from typing import Any

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.dialects.messages.bodies import (
    BODY,
    MESSAGES,
    USER,
)
from tests.gateways import Gateway, StartGateway

NO_KEY: Any = {"headers": {"authorization": ""}}
IMAGE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "é"}}
PDF: Any = {
    "type": "document",
    "source": {"type": "base64", "data": base64.b64encode(b"%PDF").decode()},
}
WRONG: Any = (
    ("POST", MESSAGES, {"json": BODY} | NO_KEY, 401, "authentication_error"),
    ("POST", MESSAGES, {"content": b"{"}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"content": b"\xff"}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": {"messages": USER}}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": BODY | {"messages": []}}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": BODY | {"tool_choice": {"type": "any"}}}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": BODY | {"model": "policy@9"}}, 404, "not_found_error"),
    ("POST", MESSAGES, {"content": b" " * 50_000_000}, 413, "request_too_large"),
    ("GET", MESSAGES, {}, 405, "invalid_request_error"),
    ("GET", f"{MESSAGES}/count_tokens", {}, 405, "invalid_request_error"),
    ("POST", f"{MESSAGES}/count_tokens", {"json": {}}, 400, "invalid_request_error"),
    ("POST", f"{MESSAGES}/batches", {"json": {}}, 404, "not_found_error"),
    *(
        ("POST", MESSAGES, {"json": BODY | {"messages": [{"role": "user", "content": content}]}}, 400, "invalid_request_error")
        for content in (5, [IMAGE], [PDF], [{"type": "melon"}], ["text"], [{"type": "text"}])
    ),
)  # fmt: skip


async def test_errors_have_anthropics_body(served: Gateway) -> None:
    """Every refusal names its type and its request, those of the router and of the middleware too."""
    for method, path, call, status, kind in WRONG:
        answer = await served.admin.request(method, path, **call)
        assert answer.status_code == status, answer.text
        body = answer.json()
        assert (body["type"], body["error"]["type"]) == ("error", kind)
        assert body["error"]["message"]
        assert body["request_id"] == answer.headers["x-request-id"]


async def test_an_overflow_says_that_the_prompt_is_too_long(
    served: Gateway, tokenizer: Tokenizer
) -> None:
    """Claude Code shortens its conversation when it reads these words."""
    long: Any = [{"role": "user", "content": "word " * tokenizer.context_length}]
    answer = await served.admin.post(MESSAGES, json=BODY | {"messages": long})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"].startswith("prompt is too long")
    assert error["code"] == "context_length_exceeded"


async def test_an_engine_that_is_gone_is_overloaded(start_gateway: StartGateway) -> None:
    """Without an engine the answer is 503 with Anthropic's word for it, to be tried again."""
    async with start_gateway("http://127.0.0.1:1") as served:
        answer = await served.admin.post(MESSAGES, json=BODY)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "overloaded_error")
    assert int(answer.headers["retry-after"]) >= 1


async def test_claude_codes_probe_is_answered(served: Gateway) -> None:
    """`HEAD /` is 200, with an episode in the path too."""
    for path in ("/", "/e/ep_1", "/e/ep_1/"):
        assert (await served.admin.head(path)).status_code == 200, path
