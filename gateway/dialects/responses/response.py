"""The Response object: what was asked, what came of it, and how it ended."""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.responses.asked import Asked
from gateway.dialects.responses.output import Output
from gateway.errors import ApiError
from gateway.request.model_name import pinned
from gateway.request.request import Reply, ReplyHead, Request
from gateway.turn.recorded_reply import recorded_pieces

ID_PREFIX = "resp_"

# The words that OpenAI's reference allows for the error of a failed response.
_FAILURES: Mapping[int, str] = {429: "rate_limit_exceeded"}


def asked_of(request: Request) -> Asked:
    assert isinstance(request.echo, Asked), "this dialect parsed the request"
    return request.echo


def render_response(request: Request, reply: Reply) -> bytes:
    """Give the body of an unstreamed reply."""
    asked = asked_of(request)
    output = Output(reply.turn_id, asked)
    for piece in recorded_pieces(reply):
        for _ in output.add(piece):
            pass
    for _ in output.end(is_cut=is_cut(reply)):
        pass
    return orjson.dumps(ended(asked, reply, output))


def is_cut(reply: Reply) -> bool:
    return reply.choices[0].finish_reason == "length"


def begun(asked: Asked, head: ReplyHead) -> dict[str, Any]:
    """The response when its first token arrives."""
    return {
        **asked.shown,
        "id": ID_PREFIX + head.turn_id,
        "object": "response",
        "created_at": head.created,
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": head.model,
        "system_fingerprint": pinned(head.policy_version),
        "output": [],
        "usage": None,
    }


def ended(asked: Asked, reply: Reply, output: Output) -> dict[str, Any]:
    """The response of a committed turn."""
    response = begun(asked, reply) | {"output": output.items, "usage": usage_object(reply)}
    if is_cut(reply):
        details = {"reason": "max_output_tokens"}
        return response | {"status": "incomplete", "incomplete_details": details}
    return response | {"status": "completed", "completed_at": reply.completed}


def failed(asked: Asked, head: ReplyHead, output: Output, error: ApiError) -> dict[str, Any]:
    """The response of a turn that broke off."""
    otherwise = "server_error" if error.status >= 500 else "invalid_prompt"
    shown = {"code": _FAILURES.get(error.status, otherwise), "message": error.message}
    return begun(asked, head) | {"status": "failed", "output": output.standing(), "error": shown}


def usage_object(reply: Reply) -> dict[str, object]:
    usage = reply.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
    }
