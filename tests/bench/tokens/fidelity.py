"""Whether each sampled token trains once, over 10,000 episodes of agents that do what they like to their history.

The engine is scripted, all else is real: HTTP, two gateways, Redis. What the engine logged is the truth.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from rich.table import Table

from tests.fidelity.random_episodes import Tally, running_world
from tests.redis_server import running_redis

NUM_EPISODES, AT_ONCE, NUM_STEPS = 10_000, 50, 6


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: float


async def play(directory: Path, redis_url: str) -> Tally:
    tally = Tally()
    async with running_world(directory, redis_url) as world:
        for seed in range(0, NUM_EPISODES, AT_ONCE):
            await world.play(AT_ONCE, seed=seed, num_steps=NUM_STEPS, tally=tally)
    return tally


def run() -> list[Figure]:
    """Raises AssertionError, with the seed, for the first token that is missing, wrong or there twice."""
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as name, running_redis(Path(name)) as url:
        tally = uvloop.run(play(Path(name), url))
    facts = asdict(tally)
    facts.pop("did")
    exact = tally.tokens_trained_once / tally.tokens_due
    figures = [Figure(name.replace("_", " "), value) for name, value in facts.items()]
    figures.append(Figure("exactly once, %", 100 * exact))
    return [*figures, *(Figure(f"times: {name}", times) for name, times in tally.did.most_common())]


def table(figures: list[Figure]) -> Table:
    rows = Table(title="Fidelity: tokens sampled against tokens trained, random agents")
    rows.add_column("what")
    rows.add_column("number", justify="right")
    for figure in figures:
        rows.add_row(figure.what, f"{figure.value:,.0f}")
    return rows
