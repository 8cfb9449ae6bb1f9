"""`rollouts(dataset, agent)`: the episodes that train, in groups."""

from pathlib import Path

from turngate.client import AsyncTurngate, Turngate
from turngate.datasets import Dataset, load_rows
from turngate.graders.grader import Grader
from turngate.own_loop import run_blocking
from turngate.rollouts.agent import Agent, Player
from turngate.rollouts.clients import both_clients
from turngate.rollouts.journal import Journal
from turngate.rollouts.progress import Show, show_progress
from turngate.rollouts.run import Plan, Run
from turngate.rollouts.table import Table

GROUP_SIZE = 8
CONCURRENCY = 32


def rollouts(
    dataset: Dataset,
    agent: Agent,
    *,
    grader: Grader | None = None,
    group_size: int = GROUP_SIZE,
    concurrency: int = CONCURRENCY,
    resume: str | Path | None = None,
    progress: Show | None = show_progress,
    turngate: Turngate | AsyncTurngate | None = None,
) -> Table:
    """Play each row `group_size` times, `concurrency` episodes at a time, and reward them.

    With a file to `resume` from, a run that was interrupted goes on where it ended: each member of each row has one end.
    """
    return run_blocking(
        rollouts_async(
            dataset,
            agent,
            grader=grader,
            group_size=group_size,
            concurrency=concurrency,
            resume=resume,
            progress=progress,
            turngate=turngate,
        )
    )


async def rollouts_async(
    dataset: Dataset,
    agent: Agent,
    *,
    grader: Grader | None = None,
    group_size: int = GROUP_SIZE,
    concurrency: int = CONCURRENCY,
    resume: str | Path | None = None,
    progress: Show | None = show_progress,
    turngate: Turngate | AsyncTurngate | None = None,
) -> Table:
    """The same, awaited."""
    player = Player(agent, grader)
    plan = Plan(members=group_size, concurrency=concurrency)
    rows = load_rows(dataset)
    journal = Journal.open(resume, rows, plan=plan.identity)
    try:
        async with both_clients(turngate) as (awaiting, blocking):
            run = Run(player, plan, journal, awaiting=awaiting, blocking=blocking, show=progress)
            return Table(tuple(await run.play(rows)))
    finally:
        journal.close()
