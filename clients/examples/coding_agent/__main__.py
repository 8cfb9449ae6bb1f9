"""Trains a coding agent, mini-swe-agent, with unit tests as the reward.

python -m venv .mini && .mini/bin/pip install mini-swe-agent mcp
python -m clients.examples.coding_agent --python .mini/bin/python
"""

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from clients.examples.coding_agent.problems import PROBLEMS
from turngate import Episode, Row, graders, rollouts

MINI = Path(__file__).with_name("mini_agent.py")
SECONDS = 600


def repair(episode: Episode, row: Row, command: Sequence[str]) -> str:
    """Give the command the task in a directory with the program; returns what it made of the program."""
    with TemporaryDirectory(prefix="coding-") as directory:
        program = Path(directory, "program.py")
        program.write_text(str(row["program"]))
        subprocess.run(
            [*command, row.question],
            cwd=directory,
            env=episode.env(os.environ),
            timeout=SECONDS,
            check=True,
            capture_output=True,
        )
        return program.read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a coding agent.")
    parser.add_argument("--python", required=True, help="of an environment with mini-swe-agent")
    parser.add_argument("--data", help="JSON Lines of {question, program, tests}")
    parser.add_argument("--concurrency", type=int, default=4, help="agents at a time")
    options = parser.parse_args()
    command = [str(Path(options.python).absolute()), str(MINI)]

    @graders.unit_tests()
    def agent(episode: Episode, row: Row) -> str:
        return repair(episode, row, command)

    dataset = options.data or PROBLEMS
    print(rollouts(dataset, agent, concurrency=options.concurrency))  # noqa: T201


if __name__ == "__main__":
    main()
