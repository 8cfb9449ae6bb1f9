"""One run: the trainer's own steps on episodes of an exactly known age, and what became of held-out success."""

import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.demo.clerk.tasks import Task
from deploy.demo.harness import Judge
from rollout.episode.group import Claim
from tests.study.cells import ALGORITHMS, Recipe, Run
from tests.study.outcome import Outcome, Outcomes
from tests.study.players import Players
from trainer.algorithms import RunningBaseline
from trainer.batch.batch import prepare
from trainer.composition.composition import Composition
from trainer.learner.optimizer import OptimizerSettings
from trainer.megatron.learner import MegatronLearner
from trainer.objective.measure import measure
from trainer.objective.objective import Objective
from trainer.objective.steps import take_steps
from trainer.telemetry.step_metrics import summarize

TOKEN_BUDGET = 8192  # the trainer's default


def train_missing(run: Run, recipe: Recipe, starter: Path, outcomes: Outcomes) -> str:
    """Unless another study has meanwhile done it; returns what to say of it."""
    if not outcomes.missing([run], recipe):
        return f"{run}: done elsewhere"
    outcome = train(run, recipe, starter)
    outcomes.add(outcome)
    return (
        f"{run}: {outcome.final:.1%} at the end, {outcome.mean:.1%} over training, "
        f"{outcome.seconds:g} s"
    )


def train(run: Run, recipe: Recipe, starter: Path, judge: Judge = Task.reward) -> Outcome:
    """From the starter to the end."""
    started = time.perf_counter()
    with MegatronLearner.create(
        starter, OptimizerSettings(recipe.learning_rate), seed=run.seed
    ) as learner:
        players = Players(learner, starter, recipe, judge, seed=run.seed)
        success, summaries = [players.success()], []
        for update, claims in enumerate(aged(players, staleness=run.staleness), start=1):
            summary = step(learner, claims, ALGORITHMS[run.algorithm], version=update - 1)
            if summary is not None:
                summaries.append(summary)
            if update % recipe.evaluate_every == 0:
                success.append(players.success())
    return Outcome(
        run,
        recipe,
        success,
        len(summaries),
        mean([summary["effective_sample_size"] for summary in summaries], of_none=1.0),
        mean([summary["silent_fraction"] for summary in summaries], of_none=0.0),
        round(time.perf_counter() - started, 1),
    )


def aged(players: Players, *, staleness: int) -> Iterator[list[Claim]]:
    """A batch for each update, played that many updates before it, or before the first. The caller trains on it at once."""
    updates = players.recipe.updates
    waiting = deque(players.batch(0) for _ in range(min(staleness + 1, updates)))
    for update in range(updates):
        yield waiting.popleft()
        if update + 1 + staleness < updates:
            waiting.append(players.batch(update + 1))


def step(
    learner: MegatronLearner, claims: Sequence[Claim], parts: Composition, *, version: int
) -> dict[str, float] | None:
    """One batch of the trainer's loop, without what publishes it; None if it moved no weight."""
    batch = prepare(
        claims,
        parts=parts,
        baseline=RunningBaseline(),
        training_version=version,
        token_budget=TOKEN_BUDGET,
        min_saving=learner.min_tree_saving,
    )
    if not batch.has_signal:
        return None
    batch = measure(batch, learner, parts, reference=None)
    steps = take_steps(batch, learner, Objective(parts))
    if not steps.moved:
        return None
    silent = sum(steps.sums[name] for name in ("clipped_high", "clipped_low", "rejected"))
    return summarize(batch, steps) | {"silent_fraction": silent / steps.sums["tokens"]}


def mean(values: Sequence[float], *, of_none: float) -> float:
    return statistics.fmean(values) if values else of_none
