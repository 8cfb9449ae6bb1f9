"""Worked answers for the warm start: clean ones teach the arithmetic and the format, sloppy ones add bad habits.

The probabilities of the habits set the starter's success, since an answer with a habit is wrong.
"""

import re
from random import Random

from clients.examples.gsm8k.problems import MARK, Problem, evaluate
from deploy.demo.subject import Chat

GUESSES = range(4, 40)
OTHER_SIGN = {"+": "-", "-": "+", "*": "+"}

# habit: probability, at most one per answer; the rest of the answers have none
HABITS = {"blurt": 0.16, "stop early": 0.19, "no mark": 0.16, "wrong sign": 0.19}


def clean_chat(problem: Problem) -> Chat:
    return chat(problem.question, clean(problem))


def clean(problem: Problem) -> str:
    """The worked answer without GSM8K's calculator notes, which models are trained without."""
    return re.sub("<<.*?>>", "", problem.answer)


def sloppy_chat(problem: Problem, random: Random) -> Chat:
    return chat(problem.question, sloppy(problem, random))


def sloppy(problem: Problem, random: Random) -> str:
    habit = random.choices([*HABITS, "none"], [*HABITS.values(), 1 - sum(HABITS.values())])[0]
    *steps, last = clean(problem).split("\n")
    if habit == "blurt":
        return f"{MARK}{random.choice(GUESSES)}"
    if habit == "stop early":
        return f"{steps[0]}\n{MARK}{steps[0].split('=')[1]}"
    if habit == "no mark":
        return "\n".join(steps)
    if habit == "wrong sign":
        return with_wrong_sign(steps)
    return "\n".join([*steps, last])


def with_wrong_sign(steps: list[str]) -> str:
    """The last step with another sign."""
    step = re.sub("[-+*]", lambda sign: OTHER_SIGN[sign[0]], steps[-1].split("=")[0])
    result = evaluate(step)
    return "\n".join([*steps[:-1], f"{step}={result}", f"{MARK}{result}"])


def chat(question: str, answer: str) -> Chat:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }
