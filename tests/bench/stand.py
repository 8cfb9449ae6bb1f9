"""The real gateway with a Redis of its own, in front of an engine that costs nothing."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis

from tests.bench.gateway_model import VOCABULARY, write_gateway_model
from tests.bench.processes import (
    cpu_seconds,
    free_port,
    process,
    resident_bytes,
    wait_for_port,
)
from tests.redis_server import running_redis

ROOT = Path(__file__).parents[2]
ADMIN_KEY = "bench-admin-key"
TOKEN_SECONDS = 0.005  # between two tokens of a streamed reply


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured, and where it listens; `store` is the process of its Redis, if it has one."""

    name: str
    port: int
    pid: int
    headers: dict[str, str]
    path: str = "/v1/chat/completions"
    store: int | None = None

    def cpu_seconds(self) -> float:
        """CPU time so far of its process and of those below it."""
        return cpu_seconds(self.pid)

    def store_seconds(self) -> float:
        """The same for its Redis."""
        return cpu_seconds(self.store) if self.store else 0.0

    def resident_bytes(self) -> int:
        return resident_bytes(self.pid)


@dataclass(frozen=True, slots=True)
class Stand:
    """Everything around a measured gateway."""

    directory: Path
    engine_port: int
    redis_url: str
    gateway: Target


@contextlib.contextmanager
def stand(output_tokens: int) -> Iterator[Stand]:
    """A gateway in front of an engine that answers every call with so many tokens."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-bench-")))
        write_gateway_model(directory)
        engine = stack.enter_context(responder(directory, output_tokens))
        redis_url = stack.enter_context(running_redis(directory))
        target = stack.enter_context(gateway(directory, redis_url, engine.port))
        yield Stand(directory, engine.port, redis_url, target)


@contextlib.contextmanager
def responder(directory: Path, output_tokens: int) -> Iterator[Target]:
    """An engine that streams a token each TOKEN_SECONDS and gives whole replies at once."""
    port, log = free_port(), directory / "responder.log"
    numbers = (port, output_tokens, VOCABULARY, TOKEN_SECONDS)
    command = [sys.executable, "-m", "tests.bench.responder", *map(str, numbers)]
    with process(command, log, ROOT) as running:
        wait_for_port(port, log)
        yield Target("engine", port, running, {}, path="/generate")


@contextlib.contextmanager
def gateway(
    directory: Path,
    redis_url: str,
    engine_port: int,
    *,
    name: str = "turngate",
    code: Path = ROOT,
    **environment: str,
) -> Iterator[Target]:
    """A gateway of the source tree `code`; the model's files, the ledger and the log are in `directory`."""
    port, log = free_port(), directory / f"gateway-{name.replace(' ', '-')}.log"
    settings = {
        "TURNGATE_REDIS_URL": redis_url,
        "TURNGATE_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/ledger.db",
        "TURNGATE_MODEL_DIR": str(directory),
        "TURNGATE_WEIGHTS_DIR": str(directory / "weights"),
        "TURNGATE_ENGINES": f"http://127.0.0.1:{engine_port}",
        "TURNGATE_GATEWAY_PORT": str(port),
        "TURNGATE_GATEWAY_METRICS_PORT": "0",
        "TURNGATE_GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "PYTHONPATH": f"{code}:{code / 'clients' / 'python'}",
    }
    command = [sys.executable, "-m", "gateway"]
    with process(command, log, code, **(settings | environment)) as running:
        wait_for_port(port, log)
        headers = {"authorization": f"Bearer {_new_key(port)}"}
        yield Target(name, port, running, headers, store=_process_of(redis_url))


def _new_key(port: int) -> str:
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/keys",
        headers={"authorization": f"Bearer {ADMIN_KEY}"},
        json={"project": "default", "name": "bench", "scopes": ["infer"]},
        timeout=30,
    )
    return str(answer.raise_for_status().json()["key"])


def _process_of(redis_url: str) -> int:
    with redis.Redis.from_url(redis_url) as client:
        return int(client.info("server")["process_id"])
