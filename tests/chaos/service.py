"""`turngate up` with two gateways and several engines, as a user starts it, on a data directory of its own."""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.own_stack import child_stack
from deploy.stack.stack import Announcement
from tests.engines import PYTHON, ROOT

SETTINGS = {
    "TURNGATE_TRAINER_GROUPS_PER_BATCH": "2",
    "TURNGATE_TRAINER_GROUP_SIZE": "2",
    "TURNGATE_TRAINER_MAX_STALENESS": "8",
    "TURNGATE_TRAINER_LEASE_SECONDS": "10",
    "TURNGATE_TRAINER_LEARNING_RATE": "1e-5",
    "TURNGATE_TRAINER_POLICIES_KEPT": "8",
}


@dataclass(frozen=True, slots=True)
class Service:
    """A running stack, and what its files say of it."""

    ready: Announcement
    ledger_url: str

    @property
    def data_dir(self) -> Path:
        return Path(self.ready.data_dir)

    @property
    def port(self) -> int:
        return int(self.ready.base_url.removesuffix("/v1").rpartition(":")[2])

    @property
    def processes(self) -> dict[str, dict[str, Any]]:
        state = json.loads((self.data_dir / "state.json").read_text())
        return {process["name"]: process for process in state["processes"]}


@asynccontextmanager
async def running_service(
    model: Path,
    data_dir: Path,
    *,
    engines: int,
    real_engines: int,
    settings: Mapping[str, str],
) -> AsyncIterator[Service]:
    data_dir.mkdir(parents=True)
    environment = os.environ | SETTINGS | dict(settings)
    environment["TURNGATE_ENGINE_PYTHON"] = str(engine_python(data_dir, real_engines))
    ledger_url = environment.get("TURNGATE_DATABASE_URL", f"sqlite:///{data_dir}/turngate.db")
    async with child_stack(
        model,
        data_dir,
        environment=environment,
        options={"--gateways": 2, "--engines": engines},
        ready_seconds=300.0,
        stop_seconds=120.0,
    ) as ready:
        yield Service(ready, ledger_url)


def engine_python(directory: Path, real_engines: int) -> Path:
    """An interpreter that runs the first engines as they are and a scripted one in the place of the others."""
    real = "|".join(f"*engine-{number}.ready.json*" for number in range(real_engines)) or "never"
    script = directory / "engine-python"
    script.write_text(
        f"""#!/bin/sh
case "$*" in
{real}) exec {PYTHON} "$@" ;;
esac
shift 2
PYTHONPATH={ROOT} exec {sys.executable} -m tests.chaos.engine "$@"
"""
    )
    script.chmod(0o700)
    return script
