"""The processes a gateway figure needs: the real gateway, an engine that costs nothing, nginx as the floor."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.gateway_model import VOCABULARY, write_gateway_model
from tests.redis_server import running_redis

ADMIN_KEY = "bench-admin-key"
CPU_CLOCK = 2  # of a process, as clock_getcpuclockid(3) builds it


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured, and where it listens."""

    name: str
    port: int
    pid: int
    headers: dict[str, str]
    path: str = "/v1/chat/completions"

    def cpu_seconds(self) -> float:
        """CPU time of the whole process so far, in nanoseconds' resolution."""
        return time.clock_gettime(~self.pid << 3 | CPU_CLOCK)


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
        engine_port = stack.enter_context(responder(directory, output_tokens))
        redis_url = stack.enter_context(running_redis(directory))
        target = stack.enter_context(gateway(directory, redis_url, engine_port))
        yield Stand(directory, engine_port, redis_url, target)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[int]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(timeout=20)


def wait_for_port(port: int, log: Path, timeout_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@contextlib.contextmanager
def responder(directory: Path, output_tokens: int) -> Iterator[int]:
    port, log = free_port(), directory / "responder.log"
    command = [
        sys.executable,
        "-m",
        "tests.bench.responder",
        str(port),
        str(output_tokens),
        str(VOCABULARY),
    ]
    with process(command, log):
        wait_for_port(port, log)
        yield port


@contextlib.contextmanager
def gateway(directory: Path, redis_url: str, engine_port: int) -> Iterator[Target]:
    port, log = free_port(), directory / "gateway.log"
    environment = {
        "TURNGATE_REDIS_URL": redis_url,
        "TURNGATE_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/ledger.db",
        "TURNGATE_MODEL_DIR": str(directory),
        "TURNGATE_WEIGHTS_DIR": str(directory / "weights"),
        "TURNGATE_ENGINES": f"http://127.0.0.1:{engine_port}",
        "TURNGATE_GATEWAY_PORT": str(port),
        "TURNGATE_GATEWAY_METRICS_PORT": "0",
        "TURNGATE_GATEWAY_ADMIN_KEY": ADMIN_KEY,
    }
    with process([sys.executable, "-m", "gateway"], log, **environment) as running:
        wait_for_port(port, log)
        admin = {"authorization": f"Bearer {ADMIN_KEY}"}
        request = {"project": "default", "name": "bench", "scopes": ["infer"]}
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/keys", headers=admin, json=request, timeout=30
        )
        answer.raise_for_status()
        key = answer.json()["key"]
        yield Target("turngate", port, running, {"authorization": f"Bearer {key}"})


@contextlib.contextmanager
def nginx(directory: Path, engine_port: int) -> Iterator[Target]:
    """nginx proxying straight to the engine: no rendering, no tokens, no record."""
    port, log, configuration = free_port(), directory / "nginx.log", directory / "nginx.conf"
    configuration.write_text(
        f"""daemon off; master_process off; pid {directory}/nginx.pid; error_log {log};
        events {{}}
        http {{
          access_log off; client_body_buffer_size 64k; client_body_temp_path {directory}; proxy_temp_path {directory};
          upstream engine {{ server 127.0.0.1:{engine_port}; keepalive 64; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
            }}
          }}
        }}"""
    )
    with process(["nginx", "-c", str(configuration)], log) as running:
        wait_for_port(port, log)
        yield Target("nginx, plain proxy", port, running, {}, path="/generate")
