"""The real SGLang server for tests: one at a time, on a free port, gone when the block ends."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from rollout.engine.engine import Engine, EngineOptions
from rollout.engine.factory import EngineFactory
from rollout.engine.swap import swap
from rollout.policies import Policy, PolicyStore

ROOT = Path(__file__).parent.parent
PYTHON = Path(os.environ.get("TURNGATE_ENGINE_PYTHON", ROOT / ".venv-engine" / "bin" / "python"))
ADMIN_KEY = "-key-of-the-tests"  # one in 64 random keys begins so
START_SECONDS = 400  # of a machine that runs other tests too


@dataclass
class EngineProcess:
    """A running server; `kill` is a crash, `stop` a shutdown."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def kill(self) -> None:
        """What the out-of-memory killer does."""
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self) -> int:
        """End it as a supervisor does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def engine_command(model_dir: Path, *arguments: str, port: int = 0) -> list[str]:
    """How a server is started."""
    options = ["--model", str(model_dir), "--port", str(port), *arguments]
    return [str(PYTHON), "-m", "rollout.engine_server", *options]


def engine_environment() -> dict[str, str]:
    """What a server needs to find in its environment."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "TEST_ENGINE_ADMIN_KEY": ADMIN_KEY,
    }


@contextmanager
def engine_process(model_dir: Path, *arguments: str, port: int = 0) -> Iterator[EngineProcess]:
    """Start a server, wait until it serves, and end it after the block."""
    with tempfile.TemporaryDirectory(prefix="tg-engine-") as directory:
        ready, log = Path(directory) / "ready.json", Path(directory) / "engine.log"
        own = ("--admin-key-env", "TEST_ENGINE_ADMIN_KEY", "--ready-file", str(ready))
        with log.open("wb") as output:
            process = subprocess.Popen(
                engine_command(model_dir, *own, *arguments, port=port),
                env=engine_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            address = _wait_for(ready, process, log)
            yield EngineProcess(process, f"http://{address['host']}:{address['port']}", log)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=30)


@contextmanager
def start_engine(model_dir: Path) -> Iterator[str]:
    """The URL of a server that lives as long as the block."""
    with engine_process(model_dir) as engine:
        yield engine.url


def factory(**options: Any) -> EngineFactory:
    """Opens engines with the tests' admin key; options may be overridden by name."""
    return EngineFactory(EngineOptions(**({"admin_key": ADMIN_KEY} | options)))


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Engine]:
    """The engine at this URL, closed after the block."""
    engine = factory(**options).open(url)
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def borrowed(url: str, starter: Policy) -> AsyncIterator[Engine]:
    """An engine that others use too: after the block it serves its starter again."""
    async with connected(url) as engine:
        try:
            yield engine
        finally:
            assert all(result.ok for result in await swap([engine], starter))


def two_policies(model_dir: Path, directory: Path) -> PolicyStore:
    """The same weights under the numbers 0 and 7, so that nothing but the number tells them apart."""
    policies = PolicyStore(directory)
    policies.adopt(model_dir, created=0)

    def write_weights(directory: Path) -> None:
        for file in model_dir.glob("*.safetensors"):
            shutil.copy(file, directory)

    policies.write(7, parent=0, base_dir=model_dir, write_weights=write_weights, created=1)
    return policies


async def num_calls(url: str) -> int:
    """How many calls the engine has taken and not finished; those that arrived during a pause are not counted."""
    async with _client(url) as client:
        ranks = (await client.get("/v1/loads")).raise_for_status().json()["loads"]
    return sum(rank["num_running_reqs"] + rank["num_waiting_reqs"] for rank in ranks)


async def checksums(url: str) -> dict[str, str]:
    """A hash for every tensor of an engine with one rank."""
    async with _client(url) as client:
        answer = await client.post("/weights_checker", json={"action": "checksum"}, timeout=60)
    (rank,) = answer.raise_for_status().json()["ranks"]
    return rank["checksums"]


def _client(url: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=60)


def _wait_for(ready: Path, process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.1)
    return json.loads(ready.read_text())
