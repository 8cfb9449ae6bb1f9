"""Why a call continues no recorded output although its episode has turns, and which client made the call.

A break is not an error: the changed history is recorded as a branch. But each break costs tokens in sampling and in
training, so a client or template that breaks at every call should be looked at.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from gateway.request.request import ChatMessage

# The first words of known user agents, in lower case. The set is fixed because each name is a time series.
CLIENTS = {
    "openai/python": "openai-python",
    "asyncopenai/python": "openai-python",
    "openai/js": "openai-node",
    "agents/python": "openai-agents",
    "anthropic/python": "anthropic-python",
    "asyncanthropic/python": "anthropic-python",
    "anthropic/js": "anthropic-node",
    "claude-cli": "claude-code",
    "codex": "codex",
    "litellm": "litellm",
    "pydantic-ai": "pydantic-ai",
    "opencode": "opencode",
    "ai-sdk": "ai-sdk",
    "python-httpx": "httpx",
}


class Break(StrEnum):
    """What differs between a call and the record of its episode."""

    START = (
        "start"  # no assistant message to continue: a sub-agent, or a history replaced by a summary
    )
    PROMPT = "prompt"  # the system prompt or the tools differ from all that is recorded
    HISTORY = "history"  # the messages continue no recorded output: edited, dropped or invented
    TEMPLATE = "template"  # the template no longer shows an output as it was sampled, for example without its reasoning
    READING = "reading"  # the rendered message and the sampled output do not mean the same


def client_of(headers: Mapping[bytes, bytes]) -> str:
    """The client's name if it is a known one, else `other`."""
    agent = headers.get(b"user-agent", b"").decode("latin-1").lower()
    return next((name for start, name in CLIENTS.items() if agent.startswith(start)), "other")


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
