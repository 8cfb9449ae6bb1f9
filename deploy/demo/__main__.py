"""`turngate demo` and its options."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.demo.run import DemoOptions, run_demo
from deploy.demo.subjects import SUBJECTS, SubjectName
from deploy.errors import DeployError
from deploy.settings import load_settings
from deploy.terminal import Format, Output

MAX_STEPS = 60


def demo(
    *,
    task: Annotated[SubjectName, typer.Option(help="what the agent learns")] = "clerk",
    steps: Annotated[int, typer.Option(min=1, max=MAX_STEPS, help="optimizer steps")] = 40,
    seed: Annotated[int, typer.Option(help="of the starter, the tasks and the trainer")] = 0,
    heldout: Annotated[int, typer.Option(min=1, help="tasks to measure, before and after")] = 200,
    data_dir: Annotated[
        Path | None, typer.Option(help="of the curve and the stack's data; default: .turngate/demo")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep the stack's data and logs")] = False,
    output: Annotated[Format, typer.Option(help="what standard output carries")] = Format.TEXT,
    plain: Annotated[bool, typer.Option("--plain", help="no color, no animation")] = False,
) -> None:
    """Watch an agent that knows only a base URL and a key get better, from nothing, in minutes."""
    settings = load_settings(os.environ)
    options = DemoOptions(
        subject=SUBJECTS[task],
        steps=steps,
        seed=seed,
        held_out=heldout,
        directory=data_dir or settings.data_dir / "demo",
        cache_dir=settings.cache_dir,
        keep=keep,
    )
    speech = Output(format=output, plain=plain)
    try:
        summary = asyncio.run(run_demo(options, speech.errors))
    except DeployError as error:
        speech.error(str(error))
        sys.exit(1)
    speech.result(summary.as_json(), summary.as_table())


def main() -> None:
    typer.run(demo)


if __name__ == "__main__":
    main()
