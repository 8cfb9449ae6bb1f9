"""Word problems in GSM8K's format: a question, and a worked answer that ends in `#### ` and a number.

Easy ones without end, small enough for the demo's starter policy to learn.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

MARK = "#### "
PEOPLE = "Ana Ben Cleo Dan Eva Finn Gus Hana Ivan Jo Kim Leo".split()  # noqa: SIM905 - shorter to read
THINGS = "apples books cards coins eggs figs hats keys nuts pens rings shells".split()  # noqa: SIM905
FIRST, SECOND, THIRD = range(6, 16), range(2, 6), range(2, 6)


@dataclass(frozen=True, slots=True)
class Problem:
    id: str
    question: str
    answer: str
    """The steps, with GSM8K's calculator notes `<<2*3=6>>`, and the number in the last line."""

    @property
    def solution(self) -> str:
        """The number that is right."""
        return self.answer.rsplit(MARK, 1)[-1].strip()


@dataclass(frozen=True, slots=True)
class Story:
    """Three numbers in a story, and the steps from them to its end. The first number of each step but the first is the last result."""

    question: str
    steps: Callable[[int, int, int], list[str]]


STORIES = (
    Story(
        "{one} has {a} {things}. {one} buys {b} more and gives {c} to {two}. "
        "How many {things} does {one} have now?",
        lambda a, b, c: [f"{a}+{b}", f"{a + b}-{c}"],
    ),
    Story(
        "{one} has {a} {things}. {one} gives {b} to {two} and then finds {c}. "
        "How many {things} does {one} have now?",
        lambda a, b, c: [f"{a}-{b}", f"{a - b}+{c}"],
    ),
    Story(
        "{one} has {a} {things} and {b} boxes with {c} {things} each. "
        "How many {things} does {one} have in all?",
        lambda a, b, c: [f"{b}*{c}", f"{b * c}+{a}"],
    ),
)


def problems(stream: str) -> Iterator[Problem]:
    """Training problems without end; each stream has its own."""
    return _drawn(stream, held_out=False)


def held_out_problems(stream: str) -> Iterator[Problem]:
    """Problems whose three numbers are in no training problem together."""
    return _drawn(f"held-out-{stream}", held_out=True)


def is_held_out(a: int, b: int, c: int) -> bool:
    """A fifth of all triples, spread over all values of each number."""
    return (a + 2 * b + 3 * c) % 5 == 0


def _drawn(stream: str, *, held_out: bool) -> Iterator[Problem]:
    random = Random(stream)  # noqa: S311 - repeatable on purpose
    number = 0
    while True:
        a, b, c = (random.choice(values) for values in (FIRST, SECOND, THIRD))
        if is_held_out(a, b, c) == held_out:
            yield write(f"{stream}-{number}", random, a=a, b=b, c=c)
            number += 1


def write(id: str, random: Random, *, a: int, b: int, c: int) -> Problem:
    story = random.choice(STORIES)
    one, two = random.sample(PEOPLE, 2)
    question = story.question.format(one=one, two=two, things=random.choice(THINGS), a=a, b=b, c=c)
    results = [(step, evaluate(step)) for step in story.steps(a, b, c)]
    lines = [f"{step}=<<{step}={result}>>{result}" for step, result in results]
    return Problem(id, question, "\n".join([*lines, f"{MARK}{results[-1][1]}"]))


def evaluate(step: str) -> int:
    """The value of two whole numbers with + - or * between them."""
    for sign, apply in (("+", int.__add__), ("*", int.__mul__), ("-", int.__sub__)):
        left, found, right = step.partition(sign)
        if found:
            return apply(int(left), int(right))
    raise ValueError(f"{step!r} is no step; write two numbers with + - or * between them")
