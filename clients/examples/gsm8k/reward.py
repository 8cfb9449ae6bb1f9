"""The reward: one if the number after the last `####` equals the right one, however it is written."""

import re

from clients.examples.gsm8k.problems import MARK


def reward(answer: str, solution: str) -> float:
    _, mark, given = answer.rpartition(MARK.strip())
    return float(bool(mark) and equal(given, solution))


def equal(given: str, solution: str) -> bool:
    """`$1,200.00` equals `1200`."""
    return normal(given) is not None and normal(given) == normal(solution)


def normal(text: str) -> float | None:
    match = re.fullmatch(r"\$?(-?\d[\d,]*(?:\.\d+)?)\.?", text.strip())
    return float(match[1].replace(",", "")) if match else None
