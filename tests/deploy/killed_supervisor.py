"""Supervises the children named on the command line, recording them as `turngate up` does, until it is killed."""

import asyncio
import sys
from pathlib import Path

from deploy.data_directory import write_json
from deploy.stack.process import ProcessStatus
from deploy.stack.state import State
from deploy.stack.supervisor import Supervisor
from tests.deploy.stage import Stage


async def main(directory: Path, state: Path) -> None:
    def record(processes: list[ProcessStatus]) -> None:
        write_json(state, State("", tuple(processes)).content)

    stage = Stage(directory)
    specs = [stage.spec("polite"), stage.spec("deaf", "--deaf", "--grandchild")]
    await Supervisor(specs, logs=directory, record=record).run(announce)


async def announce() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
