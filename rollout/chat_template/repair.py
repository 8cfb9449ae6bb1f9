"""One repair: what it does, and the conversations that show whether a template needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from rollout.chat_template.entries import Conversation
from rollout.chat_template.openai_messages import Message, Tool


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """`shows` are the texts in the samples that a template must show."""

    note: str
    apply: Callable[[Conversation], Conversation]
    samples: Sequence[Sequence[Message]]
    shows: Sequence[str]
    tools: Sequence[Tool] | None = None  # in the samples
    changes_outputs: bool = False  # what an assistant said is shown in other words
