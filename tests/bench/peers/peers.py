"""A turn beside what other gateways take to pass one on: nginx, sglang-router and LiteLLM's proxy, each on the same calls.

They record nothing and render nothing: they get a chat completion from an engine that speaks it already. `install.sh` beside
this file installs them into .bench-peers; a peer that is not there is left out.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.table import Table

from tests.bench import gateway
from tests.bench.gateway import OUTPUT_TOKENS, STREAM_SECONDS, Figure, Work
from tests.bench.nginx import nginx
from tests.bench.processes import free_port, process, wait_for_port
from tests.bench.stand import ROOT, Target, stand

BINARIES = ROOT / ".bench-peers" / "bin"
CHAT = "/v1/chat/completions"
# LiteLLM takes 10 ms a turn and 0.4 ms an event, and its stream of 300 tokens is 120 ms of CPU.
WORKS = (
    Work("small, 1 caller", 200, 1, gateway.first_turns),
    Work("small, 16 callers", 400, 16, gateway.first_turns),
    Work("streamed, 4 callers", 12, 4, gateway.streamed_turns, spread_seconds=STREAM_SECONDS),
)

Peer = Callable[[Path, int], AbstractContextManager[Target]]


@contextlib.contextmanager
def sglang_router(directory: Path, engine_port: int) -> Iterator[Target]:
    port, log = free_port(), directory / "router.log"
    addresses = ["--host", "127.0.0.1", "--port", str(port)]
    workers = ["--worker-urls", f"http://127.0.0.1:{engine_port}"]
    metrics = ["--prometheus-port", str(free_port()), "--log-level", "error"]
    command = [str(BINARIES / "python"), "-m", "sglang_router.launch_router"]
    with process([*command, *addresses, *workers, *metrics], log, directory) as pid:
        wait_for_port(port, log)
        yield Target("sglang-router", port, pid, {}, CHAT)


@contextlib.contextmanager
def litellm(directory: Path, engine_port: int) -> Iterator[Target]:
    port, log, configuration = free_port(), directory / "litellm.log", directory / "litellm.json"
    served = {
        "model": "openai/policy",
        "api_base": f"http://127.0.0.1:{engine_port}/v1",
        "api_key": "none",
    }
    settings = {"model_list": [{"model_name": "policy", "litellm_params": served}]}
    configuration.write_text(json.dumps(settings))  # which is YAML too
    options = ["--config", str(configuration), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    path = f"{BINARIES}:{os.environ['PATH']}"
    with process(
        [str(BINARIES / "litellm"), *options], log, directory, PATH=path, PYTHONPATH="", **quiet
    ) as pid:
        wait_for_port(port, log, timeout_seconds=120)
        yield Target("LiteLLM proxy", port, pid, {"authorization": "Bearer none"}, CHAT)


def peers() -> Iterator[Peer]:
    """Those that are installed."""
    if shutil.which("nginx"):
        yield lambda directory, engine_port: nginx(directory, engine_port, path=CHAT)
    if (BINARIES / "python").exists():
        yield sglang_router
        yield litellm


def run() -> list[Figure]:
    with contextlib.ExitStack() as stack:
        surroundings = stack.enter_context(stand(OUTPUT_TOKENS))
        directory, engine_port = surroundings.directory, surroundings.engine_port
        others = [stack.enter_context(peer(directory, engine_port)) for peer in peers()]
        costs = gateway.compare([surroundings.gateway, *others], WORKS)
        return [gateway.median(rounds) for rounds in costs.values()]


def table(figures: Sequence[Figure]) -> Table:
    rows = gateway.table(figures)
    rows.title = "Beside gateways that record nothing: CPU time of one turn or stream"
    return rows
