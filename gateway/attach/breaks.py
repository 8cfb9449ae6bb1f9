"""Why a call did not continue a recorded output although its episode has turns, and which client made it.

A break is no error: what changed its history is recorded as a branch. But every break costs tokens to sample and to train,
and a client or template that breaks at every call is worth a look.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from gateway.request.request import ChatMessage

# How the user agents of known clients begin, in lower case. A fixed set, because each name is a time series.
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
    """What a call and the record of its episode disagree on."""

    START = "start"  # no message of an assistant to continue: a sub-agent, a history made into a summary
    PROMPT = "prompt"  # another system prompt or other tools than anything recorded
    HISTORY = "history"  # the messages continue no recorded output: edited, dropped or made up
    TEMPLATE = "template"  # the template no longer shows an output as it was sampled, as when it strips reasoning
    READING = "reading"  # what the template shows and what was sampled say different things


def client_of(headers: Mapping[bytes, bytes]) -> str:
    """The client's name if it is a known one, else `other`."""
    agent = headers.get(b"user-agent", b"").decode("latin-1").lower()
    return next((name for start, name in CLIENTS.items() if agent.startswith(start)), "other")


def break_of(messages: Sequence[ChatMessage], *, rendered: str, known: str) -> Break:
    """Why no recorded output is continued; `known` is the part of the rendered prompt that is recorded."""
    if not any(message["role"] == "assistant" for message in messages):
        return Break.START
    return Break.HISTORY if len(known) >= _first_said(messages, rendered) else Break.PROMPT


def _words(content: object) -> str:
    parts = content if isinstance(content, list) else [{"text": content}]
    return next((words for part in parts if (words := str(part.get("text") or "").strip())), "")


def _first_said(messages: Sequence[ChatMessage], rendered: str) -> int:
    """Where the instructions end: at the first words of a message that is none."""
    said = [m for m in messages if m["role"] not in ("system", "developer")]
    first = next((words for m in said if (words := _words(m.get("content")))), None)
    return 0 if first is None else len(rendered.partition(first)[0].rstrip())
