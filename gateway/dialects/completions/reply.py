"""Text completions on their way out: a `Reply` becomes a body; `stream.py` sends the same in pieces."""

from collections.abc import Iterable

import orjson

from gateway.dialects.bodies.usage import usage_object
from gateway.request.model_name import pinned
from gateway.request.request import Reply, ReplyChoice, ReplyHead, Request, TokenLogprob

ID_PREFIX = "cmpl-"


def render_completion(request: Request, reply: Reply) -> bytes:
    """Give the body of an unstreamed reply."""
    completion = head_fields(reply)
    echo = str(request.echo)
    completion["choices"] = [_choice(choice, echo) for choice in reply.choices]
    completion["usage"] = usage_object(reply.usage)
    if reply.prompt_token_ids is not None:
        completion["prompt_token_ids"] = reply.prompt_token_ids
    return orjson.dumps(completion)


def head_fields(head: ReplyHead) -> dict[str, object]:
    return {
        "id": ID_PREFIX + head.turn_id,
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": pinned(head.policy_version),
    }


def choice_object(
    index: int,
    text: str,
    *,
    logprobs: Iterable[TokenLogprob] | None,
    token_ids: list[int] | None,
    finish_reason: str | None,
    offset: int = 0,
) -> dict[str, object]:
    """A choice, or a part of it that begins after `offset` characters of tokens."""
    fields: dict[str, object] = {
        "index": index,
        "text": text,
        "logprobs": None if logprobs is None else logprobs_object(logprobs, offset),
        "finish_reason": finish_reason,
    }
    if token_ids is not None:
        fields["token_ids"] = token_ids
    return fields


def logprobs_object(logprobs: Iterable[TokenLogprob], offset: int) -> dict[str, object]:
    """OpenAI's older form: a list for each property."""
    tokens = list(logprobs)
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.token)
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {other.token: other.logprob for other in token.top_logprobs or ()} for token in tokens
        ],
        "text_offset": offsets,
    }


def _choice(choice: ReplyChoice, echo: str) -> dict[str, object]:
    return choice_object(
        choice.index,
        echo + (choice.content or ""),
        logprobs=choice.logprobs,
        token_ids=choice.token_ids,
        finish_reason=choice.finish_reason,
    )
