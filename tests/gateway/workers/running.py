"""A gateway with workers as an operator starts it: a process with children, and what they do is seen from outside."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.engines import ADMIN_KEY as ENGINE_KEY
from tests.gateway.conftest import eventually
from tests.gateways import ADMIN_KEY

HEADERS = {"authorization": f"Bearer {ADMIN_KEY}"}
START_SECONDS = 120.0  # two interpreters and tokenizers on two busy cores
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Workers:
    """The parent, its workers, and where they listen."""

    process: psutil.Process
    url: str
    metrics_root: str
    log: Path

    @property
    def pids(self) -> set[int]:
        return {child.pid for child in self.process.children()}

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers=HEADERS, trust_env=False, timeout=60)

    async def exposition(self) -> str:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return (await client.get(f"{self.metrics_root}/metrics")).text

    async def total(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = (await self.exposition()).splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    async def are_new(self, old: set[int], *, count: int = 2) -> bool:
        """Whether so many workers serve, and none of the old ones is left."""
        await asyncio.sleep(0.1)
        return len(self.pids) == count and not self.pids & old


def environment(
    directory: Path, engine_url: str, *, redis_url: str, model_dir: Path, **settings: str
) -> dict[str, str]:
    return os.environ | {
        "TURNGATE_REDIS_URL": redis_url,
        "TURNGATE_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/ledger.db",
        "TURNGATE_MODEL_DIR": str(model_dir),
        "TURNGATE_WEIGHTS_DIR": str(directory / "weights"),
        "TURNGATE_PROJECT": f"test-{directory.name.replace('_', '-')}",
        "TURNGATE_ENGINES": engine_url,
        "TURNGATE_ENGINE_ADMIN_KEY": ENGINE_KEY,
        "TURNGATE_GATEWAY_PORT": "0",
        "TURNGATE_GATEWAY_METRICS_PORT": "0",
        "TURNGATE_GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "TURNGATE_GATEWAY_READY_FILE": str(directory / "ready.json"),
        "TURNGATE_GATEWAY_WORKERS": "2",
        **settings,
    }


@contextlib.asynccontextmanager
async def running_workers(
    directory: Path, engine_url: str, *, redis_url: str, model_dir: Path, **settings: str
) -> AsyncIterator[Workers]:
    """Two of them, until the block ends."""
    variables = environment(
        directory, engine_url, redis_url=redis_url, model_dir=model_dir, **settings
    )
    ready, log = directory / "ready.json", directory / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.to_thread(
            subprocess.Popen,
            [sys.executable, "-m", "gateway"],
            env=variables,
            stdout=output,
            stderr=output,
        )
    try:

        async def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return ready.exists()

        await eventually(is_ready, seconds=START_SECONDS)
        address = json.loads(ready.read_text())
        yield Workers(
            psutil.Process(process.pid),
            f"http://{address['host']}:{address['port']}",
            f"http://{address['host']}:{address['metrics_port']}",
            log,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)
