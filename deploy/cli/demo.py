"""`turngate demo`: replaces this process by the demo, which starts the stack as a user does."""

import os
import sys
from typing import Any

import typer

from deploy.extras import require_extras
from deploy.terminal import Output

# The demo reads its own options.
CONTEXT: dict[str, Any] = {
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
    "add_help_option": False,
}


def demo(context: typer.Context) -> None:
    """Watch an unmodified agent get better, from nothing, in minutes; `turngate demo --help` lists its options."""
    output: Output = context.obj
    require_extras("turngate demo", "trainer", "demo")
    plain = ["--plain"] if output.plain else []
    command = [sys.executable, "-m", "deploy.demo", *context.args]
    os.execv(sys.executable, [*command, "--output", output.format, *plain])  # noqa: S606  no shell is wanted
