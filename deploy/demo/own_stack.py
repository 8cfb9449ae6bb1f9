"""A stack of the demo's own: `turngate up` as a child process, on a fresh data directory."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.stack.process import Child, Launch, ProcessSpec
from deploy.stack.stack import Announcement

# The engine's imports take half a minute on two busy cores.
READY_SECONDS = 240.0
STOP_SECONDS = 60.0


@asynccontextmanager
async def own_stack(
    model: Path, data_dir: Path, *, seed: int, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Announcement]:
    """Run it until the block ends; `settings` are environment variables of its processes."""
    environment = os.environ | {"TURNGATE_TRAINER_SEED": str(seed)} | dict(settings or {})
    async with child_stack(model, data_dir, environment=environment) as ready:
        yield ready


@asynccontextmanager
async def child_stack(
    model: Path,
    data_dir: Path,
    *,
    environment: Mapping[str, str],
    options: Mapping[str, object] | None = None,
    ready_seconds: float = READY_SECONDS,
    stop_seconds: float = STOP_SECONDS,
) -> AsyncIterator[Announcement]:
    """Run `turngate up` with these further options until the block ends."""
    log = data_dir / "up.log"
    given = {"--output": "json", "--model": model, "--data-dir": data_dir, "--port": 0}
    arguments = [str(word) for option in (given | dict(options or {})).items() for word in option]
    launch = Launch((sys.executable, "-m", "deploy.cli", "up", *arguments), dict(environment))
    spec = ProcessSpec(
        "turngate up",
        launch=lambda: asyncio.sleep(0, launch),
        is_ready=lambda: asyncio.sleep(0, announcement(log) is not None),
        ready_seconds=ready_seconds,
        stop_seconds=stop_seconds,
    )
    child = Child(spec, log)
    try:
        await child.start()
        await child.wait_ready()
        ready = announcement(log)
        assert ready is not None
        yield ready
    finally:
        await child.stop()


def announcement(log: Path) -> Announcement | None:
    """The line of JSON in the output of `up`, or None while it is not complete."""
    for line in log.read_text().splitlines(keepends=True):
        if line.startswith("{") and line.endswith("}\n"):
            return Announcement(**json.loads(line))
    return None
