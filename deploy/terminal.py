"""What the command prints: results on standard output, everything else on standard error.

With `--output json` the last line of standard output is one JSON object.
"""

import json
import logging
import sys
from dataclasses import dataclass, field
from enum import StrEnum

from rich.console import Console, RenderableType

from rollout.logs import FieldFormatter


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Output:
    format: Format = Format.TEXT
    plain: bool = False  # neither color nor animation
    errors: Console = field(init=False)

    def __post_init__(self) -> None:
        console = Console(stderr=True, no_color=self.plain, highlight=False)
        object.__setattr__(self, "errors", console)

    def result(self, content: object, text: RenderableType) -> None:
        """Print the one result: `content` as JSON, or `text` for people."""
        if self.format is Format.JSON:
            written = json.dumps(content) + "\n"
        else:
            console = Console(no_color=self.plain, highlight=False)
            with console.capture() as drawn:
                console.print(text, soft_wrap=True)
            # Tables and padding fill every line with spaces, which a pipe would keep.
            written = "\n".join(line.rstrip(" ") for line in drawn.get().split("\n"))
        sys.stdout.write(written)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        self.errors.print(text, markup=False, soft_wrap=True)

    def error(self, text: str) -> None:
        self.errors.print("error:", style="bold red", end=" ")
        self.errors.print(text, markup=False, soft_wrap=True)

    def log_to_errors(self) -> None:
        handler = logging.StreamHandler()
        handler.setFormatter(FieldFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logging.getLogger("deploy").addHandler(handler)
        logging.getLogger("deploy").setLevel(logging.INFO)
