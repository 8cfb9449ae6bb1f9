"""The whole command line: its commands, and the two options that may stand anywhere in it."""

import os
import sys
from typing import Annotated

import typer

from deploy.cli import audit, demo, down, episode, keys, policy, processes, status, trainer, up
from deploy.cli.connect.arguments import WithCommand
from deploy.cli.connect.connect import connect
from deploy.cli.connect.wrap import wrap
from deploy.cli.evaluation.evaluation import evaluate
from deploy.errors import DeployError
from deploy.terminal import Format, Output

app = typer.Typer(
    name="turngate",
    help="Reinforcement learning as a service: agents use the endpoint, rewards improve the model that it serves.",
    epilog="--plain and --output text|json may also be written after the command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("status")(status.status)
app.command("audit")(audit.audit)
app.command("demo", **demo.CONTEXT)(demo.demo)
app.command("connect", cls=WithCommand)(connect)
app.command("wrap", cls=WithCommand)(wrap)
app.command("eval", cls=WithCommand)(evaluate)
app.command("gateway")(processes.gateway)
app.command("engine")(processes.engine)
app.add_typer(trainer.app, name="trainer")
app.add_typer(keys.app, name="keys")
app.add_typer(episode.app, name="episode")
app.add_typer(policy.app, name="policy")


@app.callback()
def options(
    context: typer.Context,
    output: Annotated[Format, typer.Option(help="what standard output carries")] = Format.TEXT,
    plain: Annotated[bool, typer.Option("--plain", help="no color, no animation")] = False,
) -> None:
    context.obj = Output(format=output, plain=plain or "NO_COLOR" in os.environ)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a failure that has a remedy is one line on standard error and exit code 1."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(hoisted(given))
    except (DeployError, OSError) as error:  # OSError: a full disk, no permission
        Output(plain="--plain" in given).error(str(error))
        sys.exit(1)


def hoisted(arguments: list[str]) -> list[str]:
    """Move the global options before the command; what follows a bare `--` is passed on.

    ["up", "--output", "json", "--port", "0"]  ->  ["--output", "json", "up", "--port", "0"]
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ours, rest = [], []
    words = iter(arguments[:end])
    for word in words:
        if word == "--output":
            ours += [word, *([value] if (value := next(words, None)) else [])]
        elif word == "--plain" or word.startswith("--output="):
            ours.append(word)
        else:
            rest.append(word)
    return [*ours, *rest, *arguments[end:]]
