"""What a recorded turn costs the gateway, in CPU time of its process, beside plain proxying by nginx.

The gateway is the real one with a real Redis and its durable write; the engine is `responder.py`. CPU time is what
the gateway's own process used between the first and the last request, so neither the load nor the responder
counts, and a busy machine changes it little. Targets alternate within a round; the median round is reported.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.bench import bodies, load
from tests.bench.gateway_model import VOCABULARY, write_gateway_model
from tests.redis_server import running_redis

OUTPUT_TOKENS = 300
ROUNDS = 3
ADMIN_KEY = "bench-admin-key"


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    port: int
    process: psutil.Process
    headers: dict[str, str]
    path: str = "/v1/chat/completions"


Requests = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Work:
    """`prepare` gives the requests to a target, after what has to happen before they are counted."""

    name: str
    requests: int
    concurrency: int
    prepare: Callable[[Target, int], Awaitable[Requests]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: CPU microseconds per turn (and per streamed event) and the latencies seen by the caller."""

    target: str
    work: str
    cpu_us: float
    event_us: float | None
    p50_ms: float
    p99_ms: float

    @property
    def turns_per_second_per_core(self) -> float:
        return 1e6 / self.cpu_us


async def first_turns(target: Target, _num_requests: int) -> Requests:
    """Each call opens an episode."""
    return (load.post(target.path, target.headers, body) for body in bodies.small(stream=False))


async def streamed_turns(target: Target, _num_requests: int) -> Requests:
    return (load.post(target.path, target.headers, body) for body in bodies.small(stream=True))


async def later_turns(target: Target, num_requests: int) -> Requests:
    """Each call goes on from the recorded reply of an episode of its own."""
    headers = [
        target.headers | {"x-turngate-episode": f"bench-{secrets.token_hex(6)}"}
        for _ in range(num_requests)
    ]
    opening = bodies.opening()
    openings = (load.post(target.path, own, opening) for own in headers)
    await load.run(target.port, openings, requests=num_requests, concurrency=16)
    reply = await recorded_reply(target)
    turns = zip(headers, bodies.agent(reply), strict=False)
    return (load.post(target.path, own, body) for own, body in turns)


async def recorded_reply(target: Target) -> bodies.Message:
    """What the responder always says; behind a plain proxy it is no chat message."""
    url = f"http://127.0.0.1:{target.port}{target.path}"
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(url, headers=target.headers, content=bodies.opening())
    choices = answer.raise_for_status().json().get("choices")
    return choices[0]["message"] if choices else {"role": "assistant", "content": ""}


WORKS = (
    Work("small, c=1", 500, 1, first_turns),
    Work("small, c=16", 2_000, 16, first_turns),
    Work("agent, c=16", 600, 16, later_turns),
    Work("streamed, c=16", 160, 16, streamed_turns),
)
WARM_UP = Work("warm-up", 200, 16, first_turns)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], log: Path, **environment: str) -> Iterator[psutil.Process]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )
    try:
        yield psutil.Process(child.pid)
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
def responder(directory: Path) -> Iterator[int]:
    port, log = free_port(), directory / "responder.log"
    command = [
        sys.executable,
        "-m",
        "tests.bench.responder",
        str(port),
        str(OUTPUT_TOKENS),
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


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(target: Target, work: Work) -> Figure:
    requests = await work.prepare(target, work.requests)
    before = cpu_seconds(target.process)
    result = await load.run(
        target.port, requests, requests=work.requests, concurrency=work.concurrency
    )
    assert result.failures == 0, (
        f"{target.name} failed {result.failures} of {work.requests} requests"
    )
    cpu = cpu_seconds(target.process) - before
    return Figure(
        target=target.name,
        work=work.name,
        cpu_us=1e6 * cpu / work.requests,
        event_us=1e6 * cpu / result.events if result.events else None,
        p50_ms=1e3 * result.quantile(0.5),
        p99_ms=1e3 * result.quantile(0.99),
    )


def median(rounds: list[Figure]) -> Figure:
    middle = statistics.median_low(figure.cpu_us for figure in rounds)
    return next(figure for figure in rounds if figure.cpu_us == middle)


async def compare(targets: list[Target], works: tuple[Work, ...]) -> list[Figure]:
    for target in targets:  # the first requests fill caches and connection pools
        await measure(target, WARM_UP)
    figures: dict[tuple[str, str], list[Figure]] = {}
    for _ in range(ROUNDS):
        for work in works:
            for target in targets:
                figures.setdefault((work.name, target.name), []).append(await measure(target, work))
    return [median(rounds) for rounds in figures.values()]


def run() -> list[Figure]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-bench-")))
        write_gateway_model(directory)
        engine_port = stack.enter_context(responder(directory))
        redis_url = stack.enter_context(running_redis(directory))
        targets = [stack.enter_context(gateway(directory, redis_url, engine_port))]
        if shutil.which("nginx"):
            targets.append(stack.enter_context(nginx(directory, engine_port)))
        return asyncio.run(compare(targets, WORKS))
