"""`python -m trainer.simulate`: the throughput of a staleness limit, before anything runs.

Prints throughput, staleness and the speed-up over synchronous training for each limit; the rules are in `advice/simulation.py`.
"""

import dataclasses
import json
import sys
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from trainer.advice.simulation import LogNormal, Outcome, Workload, simulate

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
DEFAULT = Workload()


Sigma = Annotated[
    float, typer.Option(min=0.0, max=4.0, help="deviation of its logarithm; 1 has a long tail")
]
Count = Annotated[int, typer.Option(min=1)]


@app.command()
def main(
    *,
    max_staleness: Annotated[
        list[int] | None,
        typer.Option(min=0, help="repeat it to compare limits; default 0, 1, 2, 4 and 8"),
    ] = None,
    turns: Annotated[float, typer.Option(min=1, help="median per episode")] = DEFAULT.turns.median,
    turns_sigma: Sigma = 0.0,
    turn_seconds: Annotated[float, typer.Option(min=1e-6, help="median time in an engine")] = 1.0,
    turn_sigma: Sigma = 0.0,
    tool_seconds: Annotated[float, typer.Option(min=0.0, help="median, after each turn")] = 1.0,
    tool_sigma: Sigma = 0.0,
    engine_slots: Annotated[
        int, typer.Option(min=1, help="turns that all engines sample at once")
    ] = DEFAULT.engine_slots,
    concurrent_groups: Annotated[
        int, typer.Option(min=0, help="groups played at once; 0: all that are admitted")
    ] = 0,
    group_size: Count = DEFAULT.group_size,
    groups_per_batch: Count = DEFAULT.groups_per_batch,
    step_seconds: Annotated[
        float, typer.Option(min=0.0, help="from a whole batch to a written policy")
    ] = DEFAULT.step_seconds,
    swap_seconds: Annotated[
        float, typer.Option(min=0.0, help="engines are paused")
    ] = DEFAULT.swap_seconds,
    steps: Annotated[int, typer.Option(min=10, help="optimizer steps to simulate")] = 200,
    seed: int = 0,
    output: Literal["text", "json"] = "text",
    plain: Annotated[bool, typer.Option("--plain", help="no color")] = False,
) -> None:
    """Simulate agents, engines and a trainer under one or more staleness limits.

    Columns: trained episodes per second, their speed-up over synchronous training, the staleness of trained groups, the
    fraction discarded as stale, and how busy trainer and engines are.
    """
    workload = Workload(
        turns=LogNormal(turns, turns_sigma),
        turn_seconds=LogNormal(turn_seconds, turn_sigma),
        tool_seconds=LogNormal(tool_seconds, tool_sigma),
        engine_slots=engine_slots,
        concurrent_groups=concurrent_groups,
        group_size=group_size,
        groups_per_batch=groups_per_batch,
        step_seconds=step_seconds,
        swap_seconds=swap_seconds,
    )
    limits = sorted({0, *(max_staleness or (1, 2, 4, 8))})
    outcomes = [simulate(workload, max_staleness=m, steps=steps, seed=seed) for m in limits]
    if output == "json":
        json.dump(
            [dataclasses.asdict(o) | {"speed_up": speed_up(o, outcomes[0])} for o in outcomes],
            sys.stdout,
        )
    else:
        Console(no_color=plain, highlight=False).print(table(outcomes))


def speed_up(outcome: Outcome, synchronous: Outcome) -> float:
    """Episodes trained per second, over those of synchronous training."""
    return outcome.episodes_per_second / synchronous.episodes_per_second


def table(outcomes: list[Outcome]) -> Table:
    result = Table(title="by staleness limit; 0 is synchronous", title_justify="left")
    for column in ("limit", "episodes/s", "speed-up", "mean, max", "stale", "trainer", "engines"):
        result.add_column(column, justify="right")
    for outcome in outcomes:
        result.add_row(
            str(outcome.max_staleness),
            f"{outcome.episodes_per_second:.2f}",
            f"{speed_up(outcome, outcomes[0]):.2f} x",
            f"{outcome.staleness_mean:.2f}, {outcome.staleness_max}",
            f"{outcome.discarded_fraction:.1%}",
            f"{outcome.trainer_busy:.0%}",
            f"{outcome.engines_busy:.0%}",
        )
    return result


if __name__ == "__main__":
    app()
