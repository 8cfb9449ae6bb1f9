"""A request's messages as they are looked up in a record and rendered: without a prefill, with what they hash to."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.request.conversation_hash import Chain
from gateway.request.request import ChatMessage, Request
from gateway.request.tools import Tool
from rollout.chat_template.chat_template import ChatTemplate, MessageOpening, Rendered
from rollout.tokenizer.vision import SizedImage


class Conversation(msgspec.Struct, frozen=True):
    request: Request
    messages: Sequence[ChatMessage]
    chain: Chain
    prefill: str
    opening: MessageOpening  # how this template begins a message with the prefill
    images: Sequence[SizedImage]

    @classmethod
    def of(
        cls, request: Request, template: ChatTemplate, images: Sequence[SizedImage]
    ) -> Conversation:
        messages, prints, prefill = request.messages, request.prints, ""
        opening = MessageOpening("", "")
        if request.continues_last_message and messages[-1]["role"] == "assistant":
            prefill = str(messages[-1]["content"])
            messages, prints = messages[:-1], prints[:-1]
            opening = template.opening(prefill, extra=request.template_kwargs)
        start = request.offered_tools.start(template.digest, request.template_kwargs)
        return cls(request, messages, Chain(start, prints), prefill, opening, images)

    @property
    def tools(self) -> list[Tool] | None:
        """Those that the prompt shows."""
        return list(self.request.offered_tools) or None

    @property
    def extra(self) -> dict[str, object]:
        """The template's own variables."""
        return self.request.template_kwargs

    def rendered(self, template: ChatTemplate) -> Rendered:
        """The whole prompt without the prefill."""
        prompt = template.prompt(self.messages, self.tools, extra=self.extra)
        return Rendered(self.opening.after(prompt.text), prompt.notes)
