"""`python -m tests.bench [PART[:ARGUMENT] ...] [json]`: every figure that docs/benchmarks.md quotes, all usual parts or those named.

Each table comes with the machine's calibration, taken just before it.
"""

import dataclasses
import json
import sys
from importlib import import_module

from rich.console import Console

from tests.bench.calibration import calibrate

# Each is a module below this folder: `run(*arguments)` measures, `table(figures)` shows.
PARTS = (
    "gateway",
    "first_token",
    "workers",
    "episodes.growth",
    "episodes.rotation",
    "episodes.episode",
    "tokens.encoding",
    "tokens.cache",
    "tokens.fidelity",
    "training.trainer",
    "training.trees",
    "training.saves",
)
# Only when named: they take a quarter of an hour, or need a package, an engine or the history of the repository.
NAMED = ("training.asynchrony", "peers.peers", "releases")


def name_of(part: str) -> str:
    return part.rpartition(".")[2]


MODULES = {name_of(part): part for part in (*PARTS, *NAMED)}


def main() -> None:
    asked = [argument for argument in sys.argv[1:] if argument != "json"]
    named = [argument.split(":") for argument in asked] or [[name_of(part)] for part in PARTS]
    if unknown := {name for name, *_ in named} - MODULES.keys():
        sys.exit(f"unknown: {', '.join(unknown)}; the parts are {', '.join(MODULES)}, and json")
    console = Console(stderr="json" in sys.argv, width=130)
    report = {}
    for name, *arguments in named:
        part = import_module(f"tests.bench.{MODULES[name]}")
        calibration = calibrate()
        figures = part.run(*arguments)
        console.print(part.table(figures))
        console.print(str(calibration), highlight=False)
        report[":".join((name, *arguments))] = {
            "calibration": dataclasses.asdict(calibration),
            "figures": [dataclasses.asdict(figure) for figure in figures],
        }
    if "json" in sys.argv:
        json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
