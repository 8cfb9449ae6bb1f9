"""What the demo teaches: tasks to train on, tasks held out to measure, and the demonstrations that its starter policy imitates.

Adding a subject is a folder like `deploy.demo.clerk` and a line in `deploy.demo.subjects`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from openai import AsyncOpenAI

Chat = dict[str, Any]  # {messages, tools?}, as `python -m trainer.sft` reads it


class Attempt(Protocol):
    """What an agent has to say for itself at its end."""

    @property
    def answer(self) -> str: ...
    @property
    def turns(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...


class Task(Protocol):
    """One question; the episodes of a group share it."""

    @property
    def id(self) -> str: ...
    async def attempt(self, client: AsyncOpenAI) -> Attempt: ...
    def reward(self, answer: str) -> float: ...


@dataclass(frozen=True, slots=True)
class Subject:
    name: str
    training_tasks: Callable[[str], Iterator[Task]]
    """Without end; each stream has its own."""
    held_out_tasks: Callable[[int, int], Sequence[Task]]
    """Those of a seed, this many."""
    chats: Callable[[int], Sequence[Chat]]
    """The demonstrations of a seed, in the order of the warm start."""
    texts: Callable[[], Iterable[str]]
    """What the starter's tokenizer is trained on."""
    pieces: str
    """A regular expression: the words and numbers that are one token wherever they stand."""
    batch_size: int
    """Of the warm start."""
    sources: tuple[ModuleType, ...]
    """What a starter is made from besides its own recipe: another text gives another starter."""
