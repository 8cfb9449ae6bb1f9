"""Word problems in GSM8K's format as a subject of the demo: one turn, worked out step by step."""

import sys
from collections.abc import Iterable
from itertools import islice
from random import Random

from clients.examples.gsm8k import problems as problems_module
from clients.examples.gsm8k.problems import problems
from deploy.demo.arithmetic import demonstrations
from deploy.demo.arithmetic.demonstrations import clean_chat, sloppy_chat
from deploy.demo.arithmetic.tasks import held_out_tasks, training_tasks
from deploy.demo.subject import Chat, Subject

# Measured: see the manual's page on this recipe.
CLEAN_CHATS, SLOPPY_CHATS = 14400, 1920


def chats(seed: int) -> list[Chat]:
    """Clean solutions first: they teach to copy, to calculate and to mark the answer."""
    random = Random(f"demonstrations {seed}")  # noqa: S311 - repeatable on purpose
    drawn = problems(f"demonstrations-{seed}")
    clean = [clean_chat(problem) for problem in islice(drawn, CLEAN_CHATS)]
    return clean + [sloppy_chat(problem, random) for problem in islice(drawn, SLOPPY_CHATS)]


def texts() -> Iterable[str]:
    yield " ".join(["user assistant", *map(str, range(100))])
    for problem in islice(problems("vocabulary"), 1500):
        yield from (message["content"] for message in clean_chat(problem)["messages"])


ARITHMETIC = Subject(
    "math",
    training_tasks=training_tasks,
    held_out_tasks=held_out_tasks,
    chats=chats,
    texts=texts,
    pieces=r"#### |\d\d?| ?[A-Za-z]+",
    batch_size=16,
    sources=(sys.modules[__name__], problems_module, demonstrations),
)
