"""The OpenAI chat dialect on its way out: a `Reply` becomes a body; `stream.py` sends the same in pieces."""

import msgspec
import orjson

from gateway.dialects.bodies.usage import usage_object
from gateway.dialects.chat.echo import ChatEcho, finish_reason
from gateway.request.model_name import pinned
from gateway.request.request import Reply, ReplyChoice, ReplyHead, TokenLogprob

ID_PREFIX = "chatcmpl-"


def render_chat(reply: Reply, echo: ChatEcho) -> bytes:
    """Give the body of an unstreamed reply."""
    completion = head_fields(reply, "chat.completion")
    completion["choices"] = [_choice(choice, echo) for choice in reply.choices]
    completion["usage"] = usage_object(reply.usage)
    if reply.prompt_token_ids is not None:
        completion["prompt_token_ids"] = reply.prompt_token_ids
    return orjson.dumps(completion)


def head_fields(head: ReplyHead, kind: str) -> dict[str, object]:
    return {
        "id": ID_PREFIX + head.turn_id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "system_fingerprint": pinned(head.policy_version),
    }


def _choice(choice: ReplyChoice, echo: ChatEcho) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": choice.content,
        "refusal": None,
    }
    if choice.reasoning is not None:
        message["reasoning"] = message["reasoning_content"] = choice.reasoning
    if choice.tool_calls and echo.calls_functions:
        call = choice.tool_calls[0]
        message["function_call"] = {"name": call.name, "arguments": call.arguments}
    elif choice.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in choice.tool_calls
        ]
    body: dict[str, object] = {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs_object(choice.logprobs),
        "finish_reason": finish_reason(choice.finish_reason, echo),
    }
    if choice.token_ids is not None:
        body["token_ids"] = choice.token_ids
    return body


def logprobs_object(logprobs: list[TokenLogprob] | None) -> dict[str, object] | None:
    if logprobs is None:
        return None
    return {"content": msgspec.to_builtins(logprobs), "refusal": None}
