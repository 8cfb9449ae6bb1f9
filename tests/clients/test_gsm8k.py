"""The math recipe: problems in GSM8K's format, the reward, and what the agent sends."""

import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI

from clients.examples.gsm8k.problems import held_out_problems, problems
from clients.examples.gsm8k.reward import reward
from clients.examples.gsm8k.solver import Attempt, attempt
from tests.clients.scripted_gateway import completion, scripted_gateway


def test_problems_are_worked_out_right() -> None:
    """Each calculator note is true, the last one gives the number after the mark, and the answer earns the reward."""
    for problem in islice(problems("a"), 300):
        notes = re.findall(r"<<(.*?)=(-?\d+)>>", problem.answer)
        assert [str(eval(step)) for step, _ in notes] == [result for _, result in notes]
        assert problem.solution == notes[-1][1]
        assert reward(problem.answer, problem.solution) == 1.0


def test_held_out_numbers_are_in_no_training_problem() -> None:
    """A problem that is measured has three numbers that no training problem has together; each single one is known."""
    trained = {numbers(problem.question) for problem in islice(problems("a"), 3000)}
    measured = {numbers(problem.question) for problem in islice(held_out_problems("a"), 1000)}

    assert len(measured) > 30
    assert measured.isdisjoint(trained)
    assert {n for triple in measured for n in triple} <= {n for triple in trained for n in triple}


def test_stream_is_the_same_every_time() -> None:
    """A stream's problems are those of last time, and another stream's have other ids."""
    first, again, other = (list(islice(problems(name), 50)) for name in "aab")

    assert first == again
    assert {problem.id for problem in first}.isdisjoint(problem.id for problem in other)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("2+2=4\n#### 4", 1.0),
        ("#### 4.0", 1.0),
        ("#### $4.00.", 1.0),
        ("#### 1\nNo, wait.\n#### 4", 1.0),
        ("4", 0.0),
        ("#### 5", 0.0),
        ("#### four", 0.0),
        ("#### ", 0.0),
        ("", 0.0),
    ],
)
def test_the_number_after_the_last_mark_is_rewarded(answer: str, expected: float) -> None:
    """However it is written, and nothing else is."""
    assert reward(answer, "4") == expected


@given(st.text())
def test_any_text_may_be_an_answer(text: str) -> None:
    """Whatever a model writes gets a reward and no exception."""
    assert reward(f"#### {text}", "4") in (0.0, 1.0)


async def test_the_agent_asks_once() -> None:
    """One call with the question alone, at temperature 1; the reply is the answer."""
    async with (
        scripted_gateway(lambda _: completion({"content": "#### 4"})) as gateway,
        AsyncOpenAI(base_url=f"{gateway.root}/v1", api_key="key") as client,
    ):
        attempted = await attempt(client, "What is 2+2?")

    assert attempted == Attempt("#### 4", turns=1, output_tokens=6)
    (asked,) = gateway.asked
    assert asked.body["messages"] == [{"role": "user", "content": "What is 2+2?"}]
    assert asked.body["temperature"] == 1.0


def numbers(question: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", question)))
