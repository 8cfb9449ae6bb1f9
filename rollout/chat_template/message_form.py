"""OpenAI's messages in the form that one template expects; differences between templates are tried at load."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import structs

from rollout.chat_template.openai_messages import Message, Tool, parsed_arguments, parts_of, text_of
from rollout.chat_template.rendering import TemplateError, to_json

CHOICES = ("joins_arguments", "wants_no_content", "names_results")
SHOWN_ARGUMENT, SHOWN_REASON, SHOWN_RULE = "melon-7", "because-8", "rule-5"
BARE_TOOL: Tool = {
    "type": "function",
    "function": {"name": "price", "parameters": {"type": "object", "properties": {}}},
}
Render = Callable[[Sequence[dict[str, Any]], Sequence[Tool] | None], str]


def probe(content: str | None) -> Sequence[Message]:
    """A call and its result."""
    function = {"name": "price", "arguments": {"item": SHOWN_ARGUMENT}}
    call = {"id": "c00000000", "type": "function", "function": function}
    answer = {"role": "assistant", "content": content, "reasoning_content": SHOWN_REASON}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "33"}
    return ({"role": "user", "content": "Hello"}, {**answer, "tool_calls": [call]}, result)


class MessageForm(msgspec.Struct, frozen=True):
    """How a template's messages differ from those that Hugging Face documents."""

    knows_developer: bool = False  # the role developer; otherwise it becomes system
    joins_arguments: bool = False  # arguments stay JSON text (DeepSeek)
    wants_no_content: bool = False  # an empty content beside a call hides the call (DeepSeek R1)
    names_results: bool = False  # a tool's result names its function (Hermes)
    reasoning: Literal["reasoning_content", "thinking", "parts"] = "reasoning_content"
    reasoning_or_content: bool = False  # before a call, never both (gpt-oss)
    describes_tools: bool = False  # a tool needs a description (gpt-oss)
    shows_images: bool = False  # a content with an image is a list of parts

    @classmethod
    def fitting(cls, source: str, render: Render) -> MessageForm:
        """The form closest to the documented one in which the template shows a call and the reasoning before it."""

        def tried(form: MessageForm, content: str | None = None, *tools: Tool) -> str | None:
            try:
                return render(form.messages(probe(content)), form.tools(tools))
            except TemplateError:
                return None

        plain = cls(
            knows_developer="developer" in source and _shows_developer(render),
            shows_images="image" in source,
        )
        forms = [
            structs.replace(plain, **dict.fromkeys(changed, True))
            for number in range(len(CHOICES) + 1)
            for changed in itertools.combinations(CHOICES, number)
        ]
        form = next((each for each in forms if SHOWN_ARGUMENT in (tried(each) or "")), plain)
        for reasoning in ("reasoning_content", "thinking", "parts"):
            thinking = structs.replace(form, reasoning=reasoning)
            if _shows_reason(tried(thinking) or ""):
                has_both = tried(thinking, "So.") is not None
                form = structs.replace(thinking, reasoning_or_content=not has_both)
                break
        described = structs.replace(form, describes_tools=True)
        is_needed = tried(form, None, BARE_TOOL) is None and tried(described, None, BARE_TOOL)
        return described if is_needed else form

    def tools(self, tools: Sequence[Tool] | None) -> Sequence[Tool] | None:
        """The tools for the template; None rather than an empty list."""
        if not self.describes_tools:
            return tools or None
        return [
            {**tool, "function": {**function, "description": function.get("description") or ""}}
            for tool, function in ((tool, tool["function"]) for tool in tools or ())
        ] or None

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """The messages for the template, as copies."""
        formed = [self._message(each) for each in messages]
        if self.names_results:
            called: dict[object, str] = {}
            for message in formed:
                called |= {c.get("id"): c["function"]["name"] for c in _calls(message)}
                if message["role"] == "tool":
                    message.setdefault("name", called.get(message.get("tool_call_id"), ""))
        return formed

    def _message(self, message: Message) -> dict[str, Any]:
        plain = {name: value for name, value in message.items() if value is not None}
        if plain.get("role") == "developer" and not self.knows_developer:
            plain["role"] = "system"
        shown = parts_of if self.shows_images else text_of
        plain["content"] = shown(plain.get("content"))
        if stated := plain.pop("reasoning", None):
            plain.setdefault("reasoning_content", stated)
        reasoning = plain.get("reasoning_content", "")
        if calls := plain.pop("tool_calls", None):
            plain["tool_calls"] = [self._call(call) for call in calls]
            if self.wants_no_content and not plain["content"]:
                plain["content"] = None
        if reasoning and not (self.reasoning_or_content and calls and plain["content"]):
            self._add_reasoning(plain, reasoning)
        return plain

    def _add_reasoning(self, message: dict[str, Any], reasoning: str) -> None:
        if self.reasoning == "thinking":
            message["thinking"] = reasoning
        elif self.reasoning == "parts":
            parts = ({"type": "thinking", "thinking": reasoning}, _text_part(message["content"]))
            message["content"] = [part for part in parts if part.get("text") != ""]

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = call.get("function")
        if not isinstance(function, Mapping):
            return dict(call)
        arguments = function.get("arguments")
        formed = _as_text(arguments) if self.joins_arguments else _as_mapping(arguments)
        return {**call, "function": {**function, "arguments": formed}}


def _shows_developer(render: Render) -> bool:
    rule = {"role": "developer", "content": SHOWN_RULE}
    try:
        return SHOWN_RULE in render([rule, {"role": "user", "content": "Hello"}], None)
    except TemplateError:
        return False


def _shows_reason(text: str) -> bool:
    """Whether the text shows the reasoning itself, not a list of parts in Python or JSON spelling."""
    return SHOWN_REASON in text and not any(q in text for q in ("'thinking'", '"thinking"'))


def _text_part(text: str | None) -> dict[str, str]:
    return {"type": "text", "text": text or ""}


def _calls(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls", ())
    return [call for call in calls if isinstance(call.get("function"), dict)]


def _as_mapping(arguments: Any) -> Any:
    """A JSON object as a mapping; anything else stays the text that the model wrote."""
    parsed = parsed_arguments(arguments)
    return arguments if isinstance(arguments, str) and not isinstance(parsed, dict) else parsed


def _as_text(arguments: Any) -> str:
    return arguments or "{}" if isinstance(arguments, str | None) else to_json(arguments)
