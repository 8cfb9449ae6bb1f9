"""What is kept of a turn for calls that name its reply instead of sending the conversation: the messages it adds, and the reply."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gateway.request.conversation_hash import assistant_message
from gateway.request.request import ChatMessage, Image, ReplyChoice, ToolCall


class KeptReply(msgspec.Struct, frozen=True):
    messages: list[dict[str, Any]]  # before the reply, without instructions
    content: str | None
    reasoning: str | None
    tool_calls: tuple[ToolCall, ...]

    @property
    def choice(self) -> ReplyChoice:
        """The reply, without what it says of its tokens."""
        return ReplyChoice(
            index=0,
            content=self.content,
            reasoning=self.reasoning,
            tool_calls=self.tool_calls,
            finish_reason="stop",
        )

    @property
    def conversation(self) -> list[ChatMessage]:
        """The messages and the reply."""
        answer = assistant_message(self.content, self.reasoning, self.tool_calls)
        return [*self.messages, answer]


_decoder = msgspec.msgpack.Decoder(KeptReply)


def encode_kept(messages: Iterable[Mapping[str, object]], reply: ReplyChoice) -> bytes:
    added = [dict(message) for message in messages]
    return msgspec.msgpack.encode(
        KeptReply(added, reply.content, reply.reasoning, reply.tool_calls)
    )


def decode_kept(data: bytes) -> KeptReply:
    """Raises msgspec.DecodeError."""
    kept = _decoder.decode(data)
    for message in kept.messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if "image" in part:
                part["image"] = msgspec.convert(part["image"], Image)
    return kept
