"""`evaluate(dataset, agent)`: how good one policy is, on held-out episodes, which never train."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from turngate.client import AsyncTurngate, Turngate
from turngate.datasets import Dataset, load_rows
from turngate.errors import PolicyMoves, TurngateError
from turngate.graders.grader import Grader
from turngate.own_loop import run_blocking
from turngate.rollouts.agent import Agent, Player
from turngate.rollouts.attempt import Attempt
from turngate.rollouts.clients import both_clients
from turngate.rollouts.estimates import Estimate, mean, pass_at_k
from turngate.rollouts.holding import Held, held_policy, moving_policy
from turngate.rollouts.journal import Journal, header_of
from turngate.rollouts.progress import Show, show_progress
from turngate.rollouts.rollouts import CONCURRENCY
from turngate.rollouts.run import Plan, Run
from turngate.rollouts.table import Table


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What the attempts show. An attempt passes if its reward is at least `threshold`; one without a reward does not."""

    table: Table
    threshold: float

    @property
    def versions(self) -> tuple[int, ...]:
        """The policy versions that played: one, if the policy was held still."""
        return tuple(sorted({version for attempt in self.table for version in attempt.versions}))

    @property
    def samples(self) -> int:
        return min(len(attempts) for attempts in self.table.by_row.values())

    @property
    def mean_reward(self) -> Estimate:
        """The mean over rows of each row's mean; no reward counts as 0."""
        rows = self.table.by_row.values()
        return mean([sum(a.reward or 0.0 for a in row) / len(row) for row in rows])

    def pass_at(self, k: int) -> Estimate:
        """The chance that at least one of `k` attempts at a row passes."""
        if not 1 <= k <= self.samples:
            raise TurngateError(
                f"pass@{k} needs at least {k} samples of each row; evaluate with samples={max(k, 1)}"
            )
        rows = self.table.by_row.values()
        return pass_at_k([(len(row), sum(map(self.passes, row))) for row in rows], k)

    def passes(self, attempt: Attempt) -> bool:
        return attempt.reward is not None and attempt.reward >= self.threshold

    def __str__(self) -> str:
        ks = {1, *(k for k in (2, 4, 8, 16, 32, 64, 128) if k < self.samples), self.samples}
        return self.text(sorted(ks))

    def text(self, ks: Sequence[int]) -> str:
        """As printed, with pass@k for these k."""
        lines = [f"pass@{k}  {self.pass_at(k)}" for k in ks]
        errors = len(self.table.errors)
        policy = ", ".join(f"policy@{version}" for version in self.versions) or "no turns"
        return "\n".join(
            [
                *lines,
                f"mean reward  {self.mean_reward}",
                f"{len(self.table.by_row)} rows, {len(self.table)} attempts, {errors} errors, {policy}",
            ]
        )


def evaluate(
    dataset: Dataset,
    agent: Agent,
    *,
    grader: Grader | None = None,
    samples: int = 1,
    threshold: float = 1.0,
    concurrency: int = CONCURRENCY,
    hold: bool = True,
    resume: str | Path | None = None,
    progress: Show | None = show_progress,
    turngate: Turngate | AsyncTurngate | None = None,
) -> EvaluationResult:
    """Play each row `samples` times with one policy, which is held still unless `hold` is False; nothing trains on it.

    To hold it still needs a key with the scope admin.
    """
    return run_blocking(
        evaluate_async(
            dataset,
            agent,
            grader=grader,
            samples=samples,
            threshold=threshold,
            concurrency=concurrency,
            hold=hold,
            resume=resume,
            progress=progress,
            turngate=turngate,
        )
    )


async def evaluate_async(
    dataset: Dataset,
    agent: Agent,
    *,
    grader: Grader | None = None,
    samples: int = 1,
    threshold: float = 1.0,
    concurrency: int = CONCURRENCY,
    hold: bool = True,
    resume: str | Path | None = None,
    progress: Show | None = show_progress,
    turngate: Turngate | AsyncTurngate | None = None,
) -> EvaluationResult:
    """The same, awaited."""
    player, rows = Player(agent, grader), load_rows(dataset)
    earlier = Held.of_header(header_of(resume))
    async with (
        both_clients(turngate) as (awaiting, blocking),
        held_policy(awaiting, earlier) if hold else moving_policy() as held,
    ):
        plan = Plan(samples, concurrency, held_out=True, model=held.model)
        journal = Journal.open(resume, rows, plan=plan.identity, note={"undo": held.undo})
        try:
            run = Run(player, plan, journal, awaiting=awaiting, blocking=blocking, show=progress)
            attempts = await run.play(rows)
        finally:
            journal.close()
    _check(held, attempts)
    return EvaluationResult(Table(tuple(attempts)), threshold)


def _check(held: Held, attempts: Sequence[Attempt]) -> None:
    """Somebody else may have released or rolled back what we held."""
    others = {version for each in attempts for version in each.versions} - {held.version}
    if held.version is not None and others:
        raise PolicyMoves(
            f"while policy {held.version} was held, {', '.join(map(str, sorted(others)))} played too; "
            "let nobody activate or release policies during an evaluation"
        )
