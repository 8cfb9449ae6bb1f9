"""`turngate gateway`, `engine` and `trainer`: one process in the foreground, for a machine that runs only that."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.announcement import show
from deploy.cli.up import Assignments
from deploy.data_directory import DataDirectory
from deploy.extras import require_extras
from deploy.gateway_api.served_policy import ServedPolicy
from deploy.settings import load_settings, override
from deploy.stack import ports, programs, services
from deploy.stack.foreground import run_alone
from deploy.stack.ports import LOOPBACK
from deploy.stack.process import ProcessSpec
from deploy.stack.secrets import Secrets
from deploy.stack.services import GatewayListeners, Shared
from deploy.stack.stack import Announcement, address, metrics_url, project_key
from rollout.ready_file import ReadyFile

Model = Annotated[Path, typer.Option(help="Hugging Face directory", envvar="TURNGATE_MODEL_DIR")]
Engines = Annotated[
    list[str], typer.Option("--engine", metavar="URL", help="an engine's address; repeatable")
]
Redis = Annotated[str, typer.Option(metavar="URL", envvar="TURNGATE_REDIS_URL")]
DataDir = Annotated[Path | None, typer.Option(help="default: ./.turngate")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")]
EngineKey = Annotated[
    str | None,
    typer.Option(envvar=services.ENGINE_KEY, help="key of the engines' control routes"),
]


def gateway(
    context: typer.Context,
    *,
    engine: Engines,
    model: Model,
    redis: Redis,
    port: Port = 0,
    host: str = LOOPBACK,
    metrics_port: Port = 0,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="processes; default: TURNGATE_GATEWAY_WORKERS, else 1"),
    ] = None,
    engine_admin_key: EngineKey = None,
    data_dir: DataDir = None,
    assignments: Assignments = None,
) -> None:
    """Run the gateway alone, against any engines; with several workers, SIGHUP replaces them one by one."""
    directory, shared = _shared(
        assignments=assignments,
        data_dir=data_dir,
        model=model,
        redis=redis,
        engines=engine,
        engine_admin_key=engine_admin_key,
    )
    secrets = Secrets.load(directory)
    if port:
        ports.require_free(host, port, option="--port")

    def spec(run: Path) -> ProcessSpec:
        listeners = GatewayListeners(host, port, metrics_port, workers=workers)
        return services.gateway_spec(
            "gateway", shared, run, listeners=listeners, admin_key=secrets.admin_key
        )

    async def announce(ready: dict[str, Any]) -> None:
        root = address(host, ready["port"])
        announcement = Announcement(
            base_url=f"{root}/v1",
            admin_key=secrets.admin_key,
            project_key=await project_key(directory, root, secrets, shared.project),
            metrics_urls=(metrics_url(ready["host"], ready["metrics_port"]),),
            engines=shared.engines,
            redis_url=redis,
            data_dir=str(directory.root),
        )
        show(context.obj, announcement)

    _run(spec, announce)


def engine(
    context: typer.Context,
    *,
    model: Model,
    port: Port = 0,
    host: str = LOOPBACK,
    version: Annotated[int, typer.Option(min=0, help="policy version of the model")] = 0,
    engine_admin_key: EngineKey = None,
    extra: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- SGLANG_ARGUMENT", help="passed to SGLang unchanged"),
    ] = None,
) -> None:
    """Run one SGLang server, on a GPU if there is one."""
    python = programs.engine_python(load_settings(os.environ).engine_python)
    if port:
        ports.require_free(host, port, option="--port")

    async def policy() -> ServedPolicy:
        return ServedPolicy(model.resolve(), version)

    def spec(run: Path) -> ProcessSpec:
        return services.engine_spec(
            "engine",
            run,
            python=python,
            port=port,
            admin_key=engine_admin_key,
            policy=policy,
            host=host,
            extra=extra or [],
        )

    async def announce(ready: dict[str, Any]) -> None:
        url = address(host, ready["port"])
        context.obj.result({"url": url, "model": str(model), "version": version}, url)

    _run(spec, announce)


def trainer(
    context: typer.Context,
    *,
    engine: Engines,
    model: Model,
    redis: Redis,
    metrics_port: Port = 0,
    engine_admin_key: EngineKey = None,
    data_dir: DataDir = None,
    assignments: Assignments = None,
) -> None:
    """Run the trainer alone, on one device; for several, use `torchrun -m trainer`."""
    require_extras("turngate trainer", "trainer")
    directory, shared = _shared(
        assignments=assignments,
        data_dir=data_dir,
        model=model,
        redis=redis,
        engines=engine,
        engine_admin_key=engine_admin_key,
    )

    def spec(run: Path) -> ProcessSpec:
        checkpoints = directory.checkpoints
        return services.trainer_spec(
            shared, run, metrics_port=metrics_port, checkpoints=checkpoints
        )

    async def announce(ready: dict[str, Any]) -> None:
        url = metrics_url(ready["host"], ready["metrics_port"])
        context.obj.result({"metrics_urls": [url], "data_dir": str(directory.root)}, url)

    _run(spec, announce)


def _shared(
    *,
    assignments: list[str] | None,
    data_dir: Path | None,
    model: Path,
    redis: str,
    engines: list[str],
    engine_admin_key: str | None,
) -> tuple[DataDirectory, Shared]:
    os.environ.update(override({}, assignments or []))
    settings = load_settings(os.environ)
    directory = DataDirectory.create(data_dir or settings.data_dir)
    shared = Shared(
        redis_url=redis,
        database_url=settings.database_url or directory.database_url,
        weights_dir=(settings.weights_dir or directory.weights).absolute(),
        model_dir=model.resolve(),
        project=settings.project,
        engines=tuple(engines),
        engine_admin_key=engine_admin_key,
    )
    return directory, shared


def _run(
    spec: Callable[[Path], ProcessSpec], announce: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """Run the process; `announce` gets the content of its ready file."""
    with tempfile.TemporaryDirectory(prefix="turngate-") as directory:
        run = Path(directory)
        process = replace(spec(run), after=())

        async def ready() -> None:
            await announce(ReadyFile.of(process.name, run).read())

        code = asyncio.run(run_alone(process, ready))
    sys.exit(code)
