"""The arithmetic subject: what the starter imitates, and how often that is right."""

from itertools import islice
from random import Random

from clients.examples.gsm8k.problems import problems
from clients.examples.gsm8k.reward import reward
from deploy.demo.arithmetic.demonstrations import HABITS, clean, sloppy
from deploy.demo.arithmetic.subject import ARITHMETIC
from deploy.demo.arithmetic.tasks import held_out_tasks, training_tasks
from deploy.demo.starter.vocabulary import train_tokenizer


def test_clean_solutions_are_right_and_bare() -> None:
    """They earn the reward, without GSM8K's calculator notes."""
    for problem in islice(problems("clean"), 200):
        assert reward(clean(problem), problem.solution) == 1.0
        assert "<<" not in clean(problem)


def test_sloppy_solutions_are_right_as_often_as_the_habits_allow() -> None:
    """A habit costs the reward, but for a lucky guess."""
    random = Random(1)
    drawn = list(islice(problems("sloppy"), 4000))

    right = sum(reward(sloppy(problem, random), problem.solution) for problem in drawn) / len(drawn)

    expected = 1 - sum(HABITS.values())
    assert expected - 0.03 < right < expected + 0.05  # four standard errors, and the guesses


def test_numbers_are_one_token_in_question_and_answer() -> None:
    """Copying a number takes one token, and each digit needs none of its own."""
    tokenizer = train_tokenizer(ARITHMETIC.texts(), pieces=ARITHMETIC.pieces)

    assert tokenizer.encode("Ana has 14 nuts.").tokens.count("14") == 1
    assert tokenizer.encode("14+3=17\n#### 17").tokens == [
        "14",
        "+",
        "3",
        "=",
        "17",
        "Ċ",
        "####Ġ",
        "17",
    ]


def test_tasks_measured_are_others_than_those_trained_on() -> None:
    """The demo takes held-out problems for one and training problems for the other."""
    measured = {task.problem.question for task in held_out_tasks(0, 200)}
    trained = {task.problem.question for task in islice(training_tasks("episodes-0"), 2000)}

    assert measured.isdisjoint(trained)
    assert held_out_tasks(0, 3) == held_out_tasks(0, 200)[:3]
