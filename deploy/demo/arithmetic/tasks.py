"""The word problems as tasks of the demo. Held out is a property of the three numbers in a problem."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from openai import AsyncOpenAI

from clients.examples.gsm8k.problems import Problem, held_out_problems, problems
from clients.examples.gsm8k.reward import reward
from clients.examples.gsm8k.solver import Attempt, attempt


@dataclass(frozen=True, slots=True)
class MathTask:
    problem: Problem

    @property
    def id(self) -> str:
        return self.problem.id

    async def attempt(self, client: AsyncOpenAI) -> Attempt:
        return await attempt(client, self.problem.question)

    def reward(self, answer: str) -> float:
        return reward(answer, self.problem.solution)


def training_tasks(stream: str) -> Iterator[MathTask]:
    return map(MathTask, problems(stream))


def held_out_tasks(seed: int, count: int) -> list[MathTask]:
    return list(map(MathTask, islice(held_out_problems(str(seed)), count)))
