"""Why a call continues no recorded output although its episode has turns.

A break is not an error: the changed history is recorded as a branch. But each break costs tokens in sampling and in
training, so a client or template that breaks at every call should be looked at.
"""

from collections.abc import Sequence
from enum import StrEnum

from gateway.request.request import ChatMessage


class Break(StrEnum):
    """What differs between a call and the record of its episode."""

    START = (
        "start"  # no assistant message to continue: a sub-agent, or a history replaced by a summary
    )
    PROMPT = "prompt"  # the system prompt or the tools differ from all that is recorded
    HISTORY = "history"  # the messages continue no recorded output: edited, dropped or invented
    TEMPLATE = "template"  # the template no longer shows an output as it was sampled, for example without its reasoning
    READING = "reading"  # the rendered message and the sampled output do not mean the same


def break_of(messages: Sequence[ChatMessage], *, rendered: str, known: str) -> Break:
    """Why no recorded output is continued; `known` is the part of the rendered prompt that is recorded."""
    if not any(message["role"] == "assistant" for message in messages):
        return Break.START
    return Break.HISTORY if len(known) >= _instructions_end(messages, rendered) else Break.PROMPT


def _first_text(content: object) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    return next((text for part in parts if (text := str(part.get("text") or "").strip())), "")


def _instructions_end(messages: Sequence[ChatMessage], rendered: str) -> int:
    """Where the instructions end: at the first text of a message that is not an instruction."""
    others = [m for m in messages if m["role"] not in ("system", "developer")]
    first = next((text for m in others if (text := _first_text(m.get("content")))), None)
    return 0 if first is None else len(rendered.partition(first)[0].rstrip())
