"""Graders that compare text and numbers with the row's answer."""

import re
from fractions import Fraction

from turngate.datasets.row import Row, final_answer, without_thousands
from turngate.graders.grader import Grader

NUMBER = re.compile(r"[-+\u2212]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+)?(?![\d/])")


def exact() -> Grader:
    """1 if the final answer is the row's, apart from spaces around it and upper case."""

    def grade(answer: str, row: Row) -> float:
        return float(final_answer(answer).casefold() == row.answer.strip().casefold())

    return Grader(grade, "exact")


def numeric(*, relative: float = 1e-6) -> Grader:
    """1 if the last number of the answer equals the row's, up to a relative difference.

    Thousands separators, signs of currencies and percent, fractions and exponents are understood: `$1,234.50`, `3/4`, `1e3`.
    """

    def grade(answer: str, row: Row) -> float:
        given, expected = last_number(final_answer(answer)), last_number(row.answer)
        if given is None or expected is None:
            return 0.0
        return float(abs(given - expected) <= Fraction(relative) * max(abs(given), abs(expected)))

    return Grader(grade, "numeric")


def last_number(text: str) -> Fraction | None:
    """The last number in a text, exactly; None without one."""
    for found in reversed(NUMBER.findall(without_thousands(text))):
        try:
            written = found.replace("\u2212", "-").replace(",", "").replace(" ", "")
            number, slash, divisor = written.partition("/")
            # An exponent beyond these would fill the memory.
            if abs(int(number.lower().partition("e")[2] or 0)) > 4096:
                continue
            return Fraction(number) / (Fraction(divisor) if slash else 1)
        except (ValueError, ZeroDivisionError):
            continue
    return None
