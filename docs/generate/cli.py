"""The `turngate` command, every command and option, from the code that parses them."""

import re

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from deploy.cli.app import app
from deploy.demo.__main__ import demo
from trainer.simulate import app as simulate

HEADING = re.compile(r"^(#+ )", re.MULTILINE)
INTRO = """\
# The turngate command

`turngate COMMAND --help` prints the same. `--output json` makes every command print one JSON object; `--plain` leaves out color and animation. This page is generated from the
code of the command.
"""


def page() -> str:
    """The command, and the two programs that it hands over to."""
    alone = typer.Typer(add_completion=False)
    alone.command()(demo)
    return "\n".join(
        [
            INTRO,
            documented(app, "turngate"),
            documented(alone, "turngate demo"),
            documented(simulate, "turngate trainer simulate"),
        ]
    )


def documented(program: typer.Typer, name: str) -> str:
    command = get_command(program)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=name)
    return HEADING.sub(r"#\1", text)
