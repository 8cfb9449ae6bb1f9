"""A shop with forty items whose prices only a tool knows, and a calculator: the world the clerk lives in.

Pure Python, without any model. A question can be answered only by looking two prices up, because every shop has its own.
"""

import json
import re
from dataclasses import dataclass
from math import prod
from random import Random
from typing import Any

ITEMS = tuple(
    """
    apple anchor basket bell bottle brush button candle chair clock compass cup drum
    fan fork globe hammer hat kettle key ladder lamp lemon melon mirror needle
    paddle pencil pillow plate ribbon rope saddle scarf spoon table teapot towel
    vase violin
    """.split()  # noqa: SIM905 - forty quoted words are harder to read
)
PRICES = range(2, 50)
QUANTITIES = range(2, 10)

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
            },
        },
    }
    for name, argument, description in (
        ("price", "item", "The price of one item."),
        ("calc", "expression", "The value of an expression of whole numbers with + - *."),
    )
]


@dataclass(frozen=True, slots=True)
class Shop:
    prices: tuple[int, ...]
    """One price for each of ITEMS."""

    @classmethod
    def opened(cls, random: Random) -> "Shop":
        return cls(tuple(random.choice(PRICES) for _ in ITEMS))

    def call(self, tool: str, arguments: str) -> str:
        """The answer of a tool; an invalid call gets an answer too, as in any agent."""
        try:
            parsed = json.loads(arguments)
        except ValueError:
            return "error"
        if not isinstance(parsed, dict):
            return "error"
        if tool == "price":
            return self.price(parsed.get("item"))
        if tool == "calc":
            return calculate(parsed.get("expression"))
        return "unknown tool"

    def price(self, item: object) -> str:
        return str(self.prices[ITEMS.index(item)]) if item in ITEMS else "unknown item"


def calculate(expression: object) -> str:
    if not isinstance(expression, str) or not re.fullmatch(
        r"\d{1,6}([-+*]\d{1,6}){0,7}", expression
    ):
        return "error"
    terms = re.findall(r"([-+]?)([\d*]+)", expression)
    return str(sum(int(f"{sign}1") * prod(map(int, term.split("*"))) for sign, term in terms))


@dataclass(frozen=True, slots=True)
class Order:
    """Two different items and how many of each."""

    first: str
    second: str
    first_quantity: int
    second_quantity: int

    @property
    def question(self) -> str:
        return f"What do {self.first_quantity} {self.first} and {self.second_quantity} {self.second} cost?"

    def total(self, shop: Shop) -> int:
        return self.first_quantity * int(shop.price(self.first)) + self.second_quantity * int(
            shop.price(self.second)
        )

    def reward(self, shop: Shop, answer: str) -> float:
        """One if the answer is exactly the total, else zero."""
        return float(answer.strip() == str(self.total(shop)))
