"""The shop clerk's tasks: which orders are trained on and which are held out, all drawn from a seed.

Held out is a property of the ordered pair of items, so that a held-out question shares no pair with any demonstration or
training episode. Prices are drawn anew for every task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from random import Random

from openai import AsyncOpenAI

from clients.examples.shop_clerk.clerk import Attempt, attempt
from clients.examples.shop_clerk.shop import ITEMS, QUANTITIES, Order, Shop


@dataclass(frozen=True, slots=True)
class Task:
    """One question to one shop; the episodes of a group share it."""

    id: str
    order: Order
    shop: Shop

    @property
    def question(self) -> str:
        return self.order.question

    async def attempt(self, client: AsyncOpenAI) -> Attempt:
        return await attempt(client, self.question, self.shop)

    def reward(self, answer: str) -> float:
        return self.order.reward(self.shop, answer)


def is_held_out(order: Order) -> bool:
    """About a fifth of the ordered pairs; the coefficients spread them over all items on both sides."""
    return (7 * ITEMS.index(order.first) + 4 * ITEMS.index(order.second)) % 5 == 0


def training_tasks(stream: str) -> Iterator[Task]:
    """Tasks without end; each stream has its own."""
    random = Random(stream)  # noqa: S311 - repeatable on purpose
    pairs = [pair for pair in permutations(ITEMS, 2) if not is_held_out(Order(*pair, 2, 2))]
    number = 0
    while True:
        yield draw(f"{stream}-{number}", random, pairs)
        number += 1


def held_out_tasks(seed: int, count: int) -> list[Task]:
    random = Random(f"held out {seed}")  # noqa: S311 - repeatable on purpose
    pairs = [pair for pair in permutations(ITEMS, 2) if is_held_out(Order(*pair, 2, 2))]
    return [draw(f"heldout-{seed}-{number}", random, pairs) for number in range(count)]


def draw(task_id: str, random: Random, pairs: Sequence[tuple[str, str]]) -> Task:
    first, second = random.choice(pairs)
    order = Order(first, second, random.choice(QUANTITIES), random.choice(QUANTITIES))
    return Task(task_id, order, Shop.opened(random))
