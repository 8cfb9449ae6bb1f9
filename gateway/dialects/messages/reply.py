"""Anthropic Messages on its way out: a `Reply` becomes a body; `stream.py` sends the same in pieces."""

from collections.abc import Iterator

import orjson

from gateway.dialects.messages.ids import signature, tool_use_id
from gateway.dialects.messages.tool_input import input_of
from gateway.request.request import Reply, ReplyChoice, ReplyHead, Request, ToolCall, Usage

ID_PREFIX = "msg_"
Block = dict[str, object]
_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use"}


def render_message(request: Request, reply: Reply) -> bytes:
    """Give the body of an unstreamed reply."""
    (choice,) = reply.choices
    return orjson.dumps(
        message_object(
            reply,
            content=list(_content(choice, reply.turn_id, shows_thinking=bool(request.echo))),
            usage=usage_object(reply.usage),
            **ending(choice),
        )
    )


def message_object(
    head: ReplyHead,
    *,
    content: list[Block],
    stop_reason: str | None,
    stop_sequence: str | None,
    usage: dict[str, object],
) -> dict[str, object]:
    return {
        "id": ID_PREFIX + head.turn_id,
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "stop_details": None,
        "container": None,
        "usage": usage,
    }


def ending(choice: ReplyChoice) -> dict[str, str | None]:
    """Why the reply ended."""
    reason = _STOP_REASONS.get(choice.finish_reason)
    if reason is None:
        reason = "end_turn" if choice.stop_text is None else "stop_sequence"
    stop_text = choice.stop_text if reason == "stop_sequence" else None
    return {"stop_reason": reason, "stop_sequence": stop_text}


def usage_object(usage: Usage) -> dict[str, object]:
    """With the fields of Anthropic's servers that mean nothing here."""
    return counts(usage) | {"cache_creation": None, "inference_geo": None, "service_tier": None}


def counts(usage: Usage) -> dict[str, object]:
    """Anthropic counts the cached part of a prompt apart from the rest."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": None,
    }


def thinking_block(thinking: str, turn_id: str) -> Block:
    return {"type": "thinking", "thinking": thinking, "signature": signature(turn_id)}


def text_block(text: str) -> Block:
    return {"type": "text", "text": text, "citations": None}


def tool_use_block(id_: str, name: str, tool_input: object) -> Block:
    return {
        "type": "tool_use",
        "id": tool_use_id(id_),
        "name": name,
        "input": tool_input,
        "caller": {"type": "direct"},
    }


def _content(choice: ReplyChoice, turn_id: str, *, shows_thinking: bool) -> Iterator[Block]:
    """The blocks in the order in which the model wrote them."""
    if choice.reasoning:
        yield thinking_block(choice.reasoning if shows_thinking else "", turn_id)
    text, shown = choice.content or "", 0
    for call in choice.tool_calls:
        if call.position > shown:
            yield text_block(text[shown : call.position])
            shown = call.position
        yield _tool_use(call)
    if text[shown:]:
        yield text_block(text[shown:])


def _tool_use(call: ToolCall) -> Block:
    return tool_use_block(call.id, call.name, orjson.Fragment(input_of(call.arguments)))
