"""Renders messages with one model's template, by the fastest Jinja engine that gives Hugging Face's text."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rollout.chat_template.adapter import Adapted, Adapter, Normalized
from rollout.chat_template.message_form import MessageForm
from rollout.chat_template.openai_messages import Message, Tool, text_of
from rollout.chat_template.rendering import (
    Jinja2Renderer,
    MiniJinjaRenderer,
    Renderer,
    TemplateError,
)
from rollout.chat_template.sample_chats import CONVERSATIONS

log = logging.getLogger(__name__)

PYTHON_SPACES = "\x1c\x1d\x1e\x1f"  # Python's strip() removes them, minijinja's does not
CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "  # its space shows whether the template trims contents


class PromptRenderer:
    """Renders normalized messages; the template's own variables go in `extra`."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self._special_tokens = special_tokens
        self._reference = Jinja2Renderer(source)
        self.form = MessageForm.fitting(source, self._reference_prompt)
        self._renderer = self._fastest_exact(source)
        self._adapter = Adapter(self.form, self.prompt)

    def normalized(self, messages: Sequence[Message]) -> Normalized:
        return self._adapter.adapt(messages).messages

    def adapted(self, messages: Sequence[Message], start: int = 0) -> Adapted:
        """The same with the place of a stored output, and with what was changed."""
        return self._adapter.adapt(messages, start)

    def conversation(
        self,
        messages: Normalized,
        tools: Sequence[Tool] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The messages alone."""
        return self._render(self._context(messages, self.form.tools(tools), extra, prompt=False))

    def prompt(
        self,
        messages: Normalized,
        tools: Sequence[Tool] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The messages and the opening of the assistant's next one."""
        return self._render(self._context(messages, self.form.tools(tools), extra, prompt=True))

    def unfinished(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The messages, the last one left open to be continued."""
        if not messages:
            raise TemplateError("there is no final message to continue")
        last = {**messages[-1], "content": text_of(messages[-1].get("content")) + CONTINUE_TAG}
        text = self.conversation(self.normalized([*messages[:-1], last]), tools, extra)
        before, tag, after = text.rpartition(CONTINUE_TAG.rstrip())
        if not tag:
            raise TemplateError("the chat template does not show the final message's content")
        return before if after.startswith(" ") else before.rstrip()

    def _render(self, context: Mapping[str, Any]) -> str:
        text = self._renderer.render(context)
        if any(separator in text for separator in PYTHON_SPACES):
            return self._reference.render(context)
        return text

    def _context(
        self,
        messages: Normalized,
        tools: Sequence[Tool] | None,
        extra: Mapping[str, Any] | None,
        *,
        prompt: bool,
    ) -> dict[str, Any]:
        return {
            **self._special_tokens,
            **(extra or {}),
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": prompt,
        }

    def _fastest_exact(self, source: str) -> Renderer:
        try:
            fast = MiniJinjaRenderer(source)
        except TemplateError as error:
            reason = str(error)
        else:
            differs = next((c for c in self._sample_contexts() if self._differ(fast, c)), None)
            if differs is None:
                return fast
            reason = f"texts differ for {len(differs['messages'])} messages"
        log.warning("chat template falls back to jinja2", extra={"reason": reason})
        return self._reference

    def _reference_prompt(self, messages: Normalized, tools: Sequence[Tool] | None) -> str:
        return self._reference.render(self._context(messages, tools, None, prompt=True))

    def _differ(self, fast: Renderer, context: Mapping[str, Any]) -> bool:
        return _text_or_none(fast, context) != _text_or_none(self._reference, context)

    def _sample_contexts(self) -> Iterator[dict[str, Any]]:
        for messages, tools in CONVERSATIONS:
            for end in range(1, len(messages) + 1):
                normal = self.form.messages(messages[:end])
                yield self._context(normal, tools, None, prompt=True)
                yield self._context(normal, tools, {"enable_thinking": False}, prompt=False)


def _text_or_none(renderer: Renderer, context: Mapping[str, Any]) -> str | None:
    try:
        return renderer.render(context)
    except TemplateError:
        return None
