"""Agents that play with the policy a learner holds: whole groups to train on, and the held-out tasks."""

import statistics
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from deploy.demo.clerk.tasks import Task, held_out_tasks, training_tasks
from deploy.demo.harness import Judge
from rollout.episode.group import Claim
from tests.study.cells import Recipe
from tests.study.clerk import Clerk, Language
from tests.study.sampler import Sampler
from trainer.learner.learner import Learner


class Players:
    """Runs of a seed are given the same tasks, and the same chances as long as their policies agree."""

    def __init__(
        self, learner: Learner, starter: Path, recipe: Recipe, judge: Judge, *, seed: int
    ) -> None:
        self.recipe = recipe
        self._learner = learner
        self._sampler = Sampler(starter)
        self._language = Language.of(starter)
        self._judge = judge
        self._tasks = training_tasks(f"study-{seed}")
        self._random = torch.Generator().manual_seed(seed)

    def batch(self, version: int) -> list[Claim]:
        """The groups of one update."""
        size = self.recipe.group_size
        clerks = [
            self._clerk(task, f"{task.id}-{member}", version)
            for task in islice(self._tasks, self.recipe.groups)
            for member in range(size)
        ]
        self._play(clerks, self._random)
        return [
            Claim(
                f"group-{start}", tuple(clerk.episode for clerk in clerks[start : start + size]), 1
            )
            for start in range(0, len(clerks), size)
        ]

    def success(self) -> float:
        """Of the held-out tasks: every time, in every run, the same tasks and chances."""
        clerks = [self._clerk(task, task.id, 0) for task in held_out_tasks(0, self.recipe.held_out)]
        self._play(clerks, torch.Generator().manual_seed(0))
        return statistics.fmean(clerk.reward for clerk in clerks)

    def _clerk(self, task: Task, name: str, version: int) -> Clerk:
        return Clerk(task, self._language, self._judge, name=name, version=version)

    def _play(self, clerks: Sequence[Clerk], random: torch.Generator) -> None:
        self._sampler.load(self._learner.export())
        self._sampler.play(clerks, random)
