"""`turngate trainer`: the trainer alone, and what it would train by.

`turngate trainer --engine …` is short for `turngate trainer run --engine …`.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from deploy.cli import demo, processes
from deploy.cli.up import Assignments
from deploy.extras import require_extras
from deploy.settings import load_settings, override, passed_on
from deploy.stack import programs
from deploy.terminal import Output

RUN = "run"


class RunsByDefault(TyperGroup):
    """Options without a command are those of `run`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_option = bool(args) and args[0].startswith("-") and args[0] not in ctx.help_option_names
        return super().parse_args(ctx, [RUN, *args] if is_option else args)


app = typer.Typer(
    cls=RunsByDefault,
    help="Run the trainer alone, show what it would train by, or simulate how fast.",
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
    _run("trainer.explain", [], output, environment)


@app.command(**demo.CONTEXT)
def simulate(context: typer.Context) -> None:
    """Simulate what a staleness limit buys, before anything runs; `turngate trainer simulate --help` lists its options."""
    _run("trainer.simulate", context.args, context.obj, os.environ)


def _run(
    module: str, arguments: Sequence[str], output: Output, environment: Mapping[str, str]
) -> NoReturn:
    """Run a program of the trainer's package, which prints in the form that `output` asks for."""
    require_extras("turngate trainer", "trainer")
    command = [programs.product_python(), "-m", module, *arguments]
    how = ["--output", output.format.value, *(["--plain"] if output.plain else [])]
    ended = subprocess.run(
        [*command, *how],
        env=passed_on(environment, "TURNGATE_TRAINER_") | programs.product_environment(),
        check=False,
    )
    sys.exit(ended.returncode)
