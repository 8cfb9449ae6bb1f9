"""`turngate trainer`: the trainer alone, and what it would train by.

`turngate trainer --engine …` is short for `turngate trainer run --engine …`.
"""

import os
import subprocess
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deploy import programs
from deploy.cli import processes
from deploy.cli.output import Output
from deploy.cli.up import Assignments
from deploy.settings import load_settings, override, passed_on

RUN = "run"


class RunsByDefault(TyperGroup):
    """Options without a command are those of `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, [RUN, *args] if is_option else args)


app = typer.Typer(
    cls=RunsByDefault,
    help="Run the trainer alone, or show what it would train by.",
    no_args_is_help=True,
)
app.command(RUN)(processes.trainer)


@app.command()
def explain(
    context: typer.Context,
    *,
    algorithm: Annotated[
        str | None, typer.Option(help="a preset; TURNGATE_TRAINER_ALGORITHM by default")
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Show the algorithm part by part: formula, source, value, where the value comes from, and what is wrong with it."""
    output: Output = context.obj
    environment = override(os.environ, assignments or [])
    if algorithm is not None:
        environment["TURNGATE_TRAINER_ALGORITHM"] = algorithm
    load_settings(environment)
    command = [programs.product_python(), "-m", "trainer.explain", "--output", output.format.value]
    ended = subprocess.run(
        [*command, *(["--plain"] if output.plain else [])],
        env=passed_on(environment, "TURNGATE_TRAINER_") | programs.product_environment(),
        check=False,
    )
    sys.exit(ended.returncode)
