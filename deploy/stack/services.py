"""How the supervisor starts Turngate's own processes: their commands, their settings, and when they are ready.

Each gets the shared settings, the variables of its own prefix, and the values that are chosen on this machine, such as ports.
"""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploy.gateway_api.served_policy import ServedPolicy
from deploy.settings import passed_on
from deploy.stack import programs
from deploy.stack.health import answers_http
from deploy.stack.pinned_policy import pinned
from deploy.stack.ports import LOOPBACK
from deploy.stack.process import Launch, ProcessSpec
from rollout.ready_file import ReadyFile

ENGINE_KEY = "TURNGATE_ENGINE_ADMIN_KEY"
# oneDNN and torch each keep the code that they make for a matrix product of one shape, 1024 times by default. Batches differ in
# length, so that a trainer on a CPU grows by 2 MB a step without this limit.
FEW_SHAPES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}


@dataclass(frozen=True, slots=True)
class Shared:
    """The settings that every process gets."""

    redis_url: str
    database_url: str
    weights_dir: Path
    model_dir: Path
    project: str
    engines: tuple[str, ...]
    engine_admin_key: str | None

    @property
    def environment(self) -> dict[str, str]:
        variables = {
            "TURNGATE_REDIS_URL": self.redis_url,
            "TURNGATE_DATABASE_URL": self.database_url,
            "TURNGATE_WEIGHTS_DIR": str(self.weights_dir),
            "TURNGATE_MODEL_DIR": str(self.model_dir),
            "TURNGATE_PROJECT": self.project,
            "TURNGATE_ENGINES": ",".join(self.engines),
        }
        if self.engine_admin_key is not None:
            variables[ENGINE_KEY] = self.engine_admin_key
        return variables


@dataclass(frozen=True, slots=True)
class GatewayListeners:
    """Where one gateway listens; several may share the port of the endpoints, never that of the metrics."""

    host: str
    port: int
    metrics_port: int
    share_port: bool = False
    workers: int | None = None  # processes of this gateway; None: what the environment says

    @property
    def environment(self) -> dict[str, str]:
        variables = {
            "TURNGATE_GATEWAY_HOST": self.host,
            "TURNGATE_GATEWAY_PORT": str(self.port),
            "TURNGATE_GATEWAY_METRICS_PORT": str(self.metrics_port),
            "TURNGATE_GATEWAY_SHARE_PORT": str(self.share_port).lower(),
        }
        if self.workers is not None:
            variables["TURNGATE_GATEWAY_WORKERS"] = str(self.workers)
        return variables


def gateway_spec(
    name: str, shared: Shared, run: Path, *, listeners: GatewayListeners, admin_key: str
) -> ProcessSpec:
    ready_file = ReadyFile.of(name, run)
    own = listeners.environment | {
        "TURNGATE_GATEWAY_ADMIN_KEY": admin_key,
        "TURNGATE_GATEWAY_READY_FILE": str(ready_file.path),
    }
    environment = _product_environment("TURNGATE_GATEWAY_", shared, own)
    command = (programs.product_python(), "-m", "gateway")
    return ProcessSpec(
        name,
        _launch(command, environment, ready_file),
        ready_file.is_written,
        after=("redis",),
        needs=("redis",),
        is_alive=partial(answers_http, listeners.host, listeners.metrics_port, "/healthz"),
        stage=2,
        knows_hangup=environment.get("TURNGATE_GATEWAY_WORKERS", "1") != "1",
        stop_seconds=75.0,  # running turns may finish
    )


def trainer_spec(
    shared: Shared,
    run: Path,
    *,
    metrics_port: int,
    checkpoints: Path,
    after: tuple[str, ...] = (),
) -> ProcessSpec:
    ready_file = ReadyFile.of("trainer", run)
    own = {
        "TURNGATE_TRAINER_METRICS_PORT": str(metrics_port),
        "TURNGATE_TRAINER_CHECKPOINT_DIR": str(checkpoints),
        "TURNGATE_TRAINER_READY_FILE": str(ready_file.path),
    }
    environment = FEW_SHAPES | _product_environment("TURNGATE_TRAINER_", shared, own)
    command = (programs.product_python(), "-m", "trainer")
    return ProcessSpec(
        "trainer",
        _launch(command, environment, ready_file),
        ready_file.is_written,
        after=after,
        is_alive=partial(answers_http, trainer_host(), metrics_port, "/metrics"),
        stage=3,
        spare=Launch((*command, "--wait"), environment),
        ready_seconds=300.0,  # a large model loads slowly
        stop_seconds=60.0,  # the running step and a checkpoint
        hung_seconds=120.0,  # a computation may keep the interpreter from answering
    )


def trainer_host() -> str:
    """Where the trainer's metrics listen; the user may set it."""
    return os.environ.get("TURNGATE_TRAINER_METRICS_HOST", LOOPBACK)


def engine_spec(
    name: str,
    run: Path,
    *,
    python: str,
    port: int,
    admin_key: str | None,
    policy: Callable[[], Awaitable[ServedPolicy]],
    host: str = LOOPBACK,
    extra: Sequence[str] = (),
    after: tuple[str, ...] = (),
) -> ProcessSpec:
    """`policy` is asked at every start, so that a restarted engine serves what the others serve."""
    ready_file = ReadyFile.of(name, run)

    async def launch() -> Launch:
        ready_file.clear()
        served = pinned(await policy(), run / f"{name}-policy")
        command = [python, "-m", "rollout.engine_server", "--ready-file", str(ready_file.path)]
        command += ["--model", str(served.path), "--weight-version", str(served.version)]
        command += ["--host", host, "--port", str(port)]
        environment = passed_on(os.environ, own_prefix=None) | programs.engine_environment(run)
        if admin_key is not None:
            command += ["--admin-key-env", ENGINE_KEY]
            environment[ENGINE_KEY] = admin_key
        return Launch((*command, *(["--", *extra] if extra else [])), environment)

    return ProcessSpec(
        name,
        launch,
        ready_file.is_written,
        after=after,
        is_alive=partial(answers_http, host, port, "/health"),
        stage=1,
        ready_seconds=900.0,  # minutes for a large model
        stop_seconds=20.0,
        hung_seconds=60.0,  # its prefill may take the whole machine
    )


def _product_environment(prefix: str, shared: Shared, own: dict[str, str]) -> dict[str, str]:
    inherited = passed_on(os.environ, prefix)
    return inherited | programs.product_environment() | shared.environment | own


def _launch(
    command: tuple[str, ...], environment: dict[str, str], ready_file: ReadyFile
) -> Callable[[], Awaitable[Launch]]:
    async def launch() -> Launch:
        ready_file.clear()
        return Launch(command, environment)

    return launch
