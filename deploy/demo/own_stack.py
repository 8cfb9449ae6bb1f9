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
    log = data_dir / "up.log"
    options = {"--output": "json", "--model": model, "--data-dir": data_dir, "--port": 0}
    arguments = [str(word) for option in options.items() for word in option]
    environment = os.environ | {"TURNGATE_TRAINER_SEED": str(seed)} | dict(settings or {})
    launch = Launch((sys.executable, "-m", "deploy.cli", "up", *arguments), environment)
    spec = ProcessSpec(
        "turngate up",
        launch=lambda: asyncio.sleep(0, launch),
        is_ready=lambda: asyncio.sleep(0, announcement(log) is not None),
        ready_seconds=READY_SECONDS,
        stop_seconds=STOP_SECONDS,
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
