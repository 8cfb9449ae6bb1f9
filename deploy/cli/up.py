"""`turngate up`: the whole stack on this machine, in the foreground or, with --detach, in the background."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.announcement import show
from deploy.data_directory import SUPERVISOR_LOG, DataDirectory, read_json, write_json
from deploy.errors import DataDirectoryInUse, StartFailed
from deploy.extras import require_extras
from deploy.settings import Settings, load_settings, override
from deploy.stack import orphans
from deploy.stack.process import ProcessStatus, tail
from deploy.stack.signals import call_on_stop
from deploy.stack.stack import Announcement, Stack, StackOptions
from deploy.stack.state import State
from deploy.stack.supervisor import Supervisor
from deploy.terminal import Output

Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="a setting: trainer.group_size=4; repeatable"),
]


def up(
    context: typer.Context,
    *,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Hugging Face directory; the demo's starter policy by default",
            envvar="TURNGATE_MODEL_DIR",
        ),
    ] = None,
    starter: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="a starter policy of the demo as the model: clerk, math"),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="default: ./.turngate")] = None,
    host: Annotated[str, typer.Option(help="address the gateway listens on")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="of the gateway; default: the port of the last start, else 8000, else a free one",
        ),
    ] = None,
    gateways: Annotated[
        int | None,
        typer.Option(
            min=1, help="gateway processes behind the one port; default: TURNGATE_GATEWAYS, else 1"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="processes of each gateway; default: TURNGATE_GATEWAY_WORKERS, else 1"
        ),
    ] = None,
    engines: Annotated[int, typer.Option(min=1, help="SGLang servers to start")] = 1,
    trainer: Annotated[bool, typer.Option("--trainer/--no-trainer")] = True,
    detach: Annotated[
        bool, typer.Option("--detach", help="return when ready; `turngate down` stops it")
    ] = False,
    assignments: Assignments = None,
) -> None:
    """Start Redis, engines, gateway and trainer, and keep them running until SIGTERM or Ctrl-C."""
    output: Output = context.obj
    require_extras("turngate up", *(["trainer"] if trainer else []), *([] if model else ["demo"]))
    os.environ.update(override({}, assignments or []))
    settings = load_settings(os.environ)
    directory = DataDirectory.create(data_dir or settings.data_dir)
    if detach:
        show(output, start_detached(directory, output))
        return
    output.log_to_errors()
    with directory.owned():
        clear_orphans(directory, output)
        model = model.resolve() if model else starter_model(starter, directory, settings, output)
        options = StackOptions(
            model,
            host=host,
            port=port,
            gateways=gateways or settings.gateways,
            workers=workers,
            engines=engines,
            with_trainer=trainer,
        )
        stack = Stack(directory, settings, options)
        asyncio.run(supervise(stack, directory, lambda ready: show(output, ready)))


def starter_model(
    starter: str | None, directory: DataDirectory, settings: Settings, output: Output
) -> Path:
    """The model this directory was made for; the first time, or if one is named, a starter policy of the demo."""
    # Needed only when no model is named.
    from deploy.demo.starter.starter import ensure_starter  # noqa: PLC0415
    from deploy.demo.subjects import subject_named  # noqa: PLC0415

    if starter is None and directory.model is not None:
        return directory.model
    if starter is None:
        output.note("no --model given: using the demo's starter policy")
    subject = subject_named(starter or "clerk")
    cache_dir = settings.cache_dir.absolute()
    return ensure_starter(cache_dir, subject=subject, progress=output.note).resolve()


def clear_orphans(directory: DataDirectory, output: Output) -> None:
    left = orphans.find_orphans(read_json(directory.state))
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        output.note(f"stopping what a killed supervisor left running: {pids}")
        orphans.stop_orphans(left)


async def supervise(
    stack: Stack, directory: DataDirectory, ready: Callable[[Announcement], None]
) -> None:
    def record(processes: list[ProcessStatus]) -> None:
        write_json(directory.state, State(stack.gateway_root, tuple(processes)).content)

    async def announce() -> None:
        ready(await stack.announcement())

    supervisor = Supervisor(stack.specs(), logs=directory.fresh_logs(), record=record)
    call_on_stop(supervisor.stop)
    await supervisor.run(announce)


def start_detached(directory: DataDirectory, output: Output) -> Announcement:
    """Run this same command in the background, and wait for its line of JSON."""
    if (pid := directory.owner()) is not None:
        raise DataDirectoryInUse(
            f"{directory.root} is in use by turngate up, pid {pid}; stop it with `turngate down`"
        )
    log = directory.logs / SUPERVISOR_LOG
    output.note(f"starting in the background; its log is {log}")
    arguments = [word for word in sys.argv[1:] if word != "--detach"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", *arguments, "--output", "json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise StartFailed(f"turngate up ended with code {process.wait()}:\n{tail(log)}")
    return Announcement(**json.loads(line))
