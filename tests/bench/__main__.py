"""`python -m tests.bench [PART ...] [json]`: every figure that docs/benchmarks.md quotes, all parts but the long ones or those named."""

import dataclasses
import json
import sys
from importlib import import_module

from rich.console import Console

# Each is a module beside this one: `run()` measures, `table()` shows.
PARTS = (
    "gateway",
    "growth",
    "encoding",
    "episode",
    "cache",
    "fidelity",
    "trainer",
    "trees",
    "saves",
)
LONG = ("asynchrony",)  # a quarter of an hour, and only when named


def main() -> None:
    named = [argument for argument in sys.argv[1:] if argument != "json"]
    if unknown := set(named) - {*PARTS, *LONG}:
        parts = ", ".join((*PARTS, *LONG))
        sys.exit(f"unknown: {', '.join(unknown)}; the parts are {parts}, and json")
    console = Console(stderr="json" in sys.argv, width=110)
    report = {}
    for name in named or PARTS:
        part = import_module(f"tests.bench.{name}")
        figures = part.run()
        console.print(part.table(figures))
        report[name] = [dataclasses.asdict(figure) for figure in figures]
    if "json" in sys.argv:
        json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
