"""The OpenAI chat dialect on its way out: a `Reply` becomes a body; `stream.py` sends the same in pieces."""

import msgspec
import orjson

from gateway.request.request import Reply, ReplyChoice


def render_chat(reply: Reply) -> bytes:
    """Give the body of an unstreamed reply."""
    completion: dict[str, object] = {
        "id": completion_id(reply.turn_id),
        "object": "chat.completion",
        "created": reply.created,
        "model": reply.model,
        "choices": [_choice(choice) for choice in reply.choices],
        "usage": usage_object(reply),
        "system_fingerprint": f"policy@{reply.policy_version}",
    }
    if reply.prompt_token_ids is not None:
        completion["prompt_token_ids"] = reply.prompt_token_ids
    return orjson.dumps(completion)


def completion_id(turn_id: str) -> str:
    return f"chatcmpl-{turn_id}"


def usage_object(reply: Reply) -> dict[str, object]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _choice(choice: ReplyChoice) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": choice.content,
        "refusal": None,
    }
    if choice.reasoning is not None:
        message["reasoning"] = message["reasoning_content"] = choice.reasoning
    if choice.tool_calls:
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
        "logprobs": logprobs_object(choice),
        "finish_reason": choice.finish_reason,
    }
    if choice.token_ids is not None:
        body["token_ids"] = choice.token_ids
    return body


def logprobs_object(choice: ReplyChoice) -> dict[str, object] | None:
    if choice.logprobs is None:
        return None
    return {"content": msgspec.to_builtins(choice.logprobs), "refusal": None}
