"""The shop clerk as a subject of the demo: tools, several turns, and a total to find."""

import sys
from collections.abc import Iterable
from itertools import islice
from random import Random

from clients.examples.shop_clerk import shop
from deploy.demo.clerk import demonstrations, tasks
from deploy.demo.clerk.demonstrations import clean_chat, sloppy_chat
from deploy.demo.clerk.tasks import held_out_tasks, training_tasks
from deploy.demo.subject import Chat, Subject

# Measured: clean chats raise held-out success to 97 %, sloppy ones then lower it to about 30 %.
CLEAN_CHATS, SLOPPY_CHATS = 7200, 2400


def chats(seed: int) -> list[Chat]:
    """Clean ones first: they teach the format and to copy."""
    random = Random(f"demonstrations {seed}")  # noqa: S311 - repeatable on purpose
    drawn = training_tasks(f"demonstrations-{seed}")
    clean = [clean_chat(task) for task in islice(drawn, CLEAN_CHATS)]
    return clean + [sloppy_chat(task, random) for task in islice(drawn, SLOPPY_CHATS)]


def texts() -> Iterable[str]:
    """The texts of 1,500 clean chats, without the tokens added to the vocabulary by name."""
    yield "system Tools: " + ", ".join(tool["function"]["name"] for tool in shop.TOOLS)
    yield " ".join(
        [*shop.ITEMS, "user", "assistant", "tool", "expression", "unknown item", "error"]
    )
    for task in islice(training_tasks("vocabulary"), 1500):
        for message in clean_chat(task)["messages"]:
            yield message.get("content") or ""
            for call in message.get("tool_calls", []):
                function = call["function"]
                yield f'\n{{"name": "{function["name"]}", "arguments": {function["arguments"]}}}\n'


CLERK = Subject(
    "clerk",
    training_tasks=training_tasks,
    held_out_tasks=held_out_tasks,
    chats=chats,
    texts=texts,
    pieces=r"\d|[A-Za-z]+",
    batch_size=16,
    sources=(sys.modules[__name__], shop, tasks, demonstrations),
)
