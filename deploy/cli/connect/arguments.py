"""A command line that ends in `-- COMMAND …`, which is the user's own."""

from typing import Any

import typer
from typer.core import TyperCommand

from deploy.errors import SettingsInvalid

_COMMAND = "deploy.cli.connect.command"


class WithCommand(TyperCommand):
    """Keeps what follows `--` apart: it may look like our own options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_COMMAND] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])


def command_of(context: typer.Context, example: str) -> list[str]:
    """The user's command. Raises SettingsInvalid if there is none."""
    command = optional_command_of(context)
    if not command:
        raise SettingsInvalid(f"name the command to run after --, as in `{example}`")
    return command


def optional_command_of(context: typer.Context) -> list[str]:
    """The user's command; empty if there is none."""
    command: list[str] = context.meta[_COMMAND]
    return command
