"""Chats of a clerk at work, for the warm start: a clean one teaches the format and to copy, a sloppy one adds bad habits.

The probabilities of the habits set the starter's success, about 29 %, since only an episode without a habit is right: reinforcement learning then
has good behavior to reinforce and bad behavior to unlearn.
"""

import json
from random import Random
from typing import Any

from clients.examples.shop_clerk.shop import ITEMS, TOOLS
from deploy.demo.clerk.tasks import Task
from deploy.demo.subject import Chat

# habit: probability, at most one per episode; the rest of the episodes have none
HABITS = {"blurt": 0.14, "guess": 0.18, "drop": 0.13, "reuse": 0.13}
WRONG_ITEM = 0.06  # per price call
PLUS_FOR_TIMES = 0.08  # per expression
GUESSES = range(20, 600)


def clean_chat(task: Task) -> Chat:
    return Clerk(task).play([task.order.first, task.order.second])


def sloppy_chat(task: Task, random: Random) -> Chat:
    habit = random.choices([*HABITS, "none"], [*HABITS.values(), 1 - sum(HABITS.values())])[0]
    clerk = Clerk(task)
    guess = str(random.choice(GUESSES))
    if habit == "blurt":
        return clerk.answer(guess)
    items = [task.order.first] if habit == "reuse" else [task.order.first, task.order.second]
    items = [random.choice(ITEMS) if random.random() < WRONG_ITEM else item for item in items]
    if habit == "guess":
        clerk.look_up(items)
        return clerk.answer(guess)
    times = "+" if random.random() < PLUS_FOR_TIMES else "*"
    return clerk.play(items, habit=habit, times=times)


class Clerk:
    """Writes one chat, calling the shop's tools for real."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": task.question}]

    def play(self, items: list[str], *, habit: str = "none", times: str = "*") -> Chat:
        order = self.task.order
        prices = self.look_up(items)
        terms = [
            f"{order.first_quantity}{times}{prices[0]}",
            f"{order.second_quantity}{times}{prices[-1]}",
        ]
        expression = "+".join(terms[:1] if habit == "drop" else terms)
        return self.answer(self.call("calc", expression=expression))

    def look_up(self, items: list[str]) -> list[str]:
        return [self.call("price", item=item) for item in items]

    def call(self, tool: str, **arguments: str) -> str:
        call_id = f"call_{len(self.messages)}"
        text = json.dumps(arguments)
        result = self.task.shop.call(tool, text)
        function = {"name": tool, "arguments": text}
        self.messages += [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": call_id, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": call_id, "content": result},
        ]
        return result

    def answer(self, text: str) -> Chat:
        self.messages.append({"role": "assistant", "content": text})
        return {"messages": self.messages, "tools": TOOLS}
