"""`turngate audit`: recompute that nothing is lost and nothing is trained twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from deploy.cli.connection import DataDir
from deploy.data_directory import DataDirectory
from deploy.errors import NotRunning
from deploy.settings import load_settings
from deploy.stack import programs
from deploy.stack.redis_server import configured_url
from deploy.stack.secrets import Secrets
from deploy.terminal import Output

UNREADABLE = 2
SHOWN = 50  # offenders in the table; JSON has all


def audit(
    context: typer.Context,
    *,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="TURNGATE_REDIS_URL",
            help="default: the one of the data directory",
        ),
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="default: the project that is trained")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON lines of what a client saw acknowledged; each is looked up"
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="a gateway's /metrics to compare; repeatable"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Compare Redis, the ledger and the policies on disk while the system runs.

    Exit code 0: nothing contradicts. 1: offenders, listed. 2: something cannot be read.
    """
    output: Output = context.obj
    command = [programs.product_python(), "-m", "rollout.audit"]
    command += ["--journal", str(journal.resolve())] if journal is not None else []
    for url in metrics or ():
        command += ["--metrics", url]
    ran = subprocess.run(
        command,
        check=False,
        text=True,
        capture_output=True,
        env=os.environ | programs.product_environment() | _addresses(data_dir, redis, project),
    )
    if ran.returncode not in (0, 1) or not ran.stdout:
        output.error(f"cannot audit: {ran.stderr.strip()}")
        sys.exit(UNREADABLE)
    report = json.loads(ran.stdout)
    output.result(report, _drawn(report))
    sys.exit(ran.returncode)


def _addresses(data_dir: Path | None, redis: str | None, project: str | None) -> dict[str, str]:
    """As environment variables: they may hold passwords."""
    settings = load_settings(os.environ)
    directory = DataDirectory((data_dir or settings.data_dir).resolve())
    if redis is None:
        if not directory.secrets.exists():
            raise NotRunning(f"{directory.root} is no data directory; name it, or pass --redis")
        redis = configured_url(directory.redis, Secrets.load(directory).redis_password)
    return {
        "TURNGATE_REDIS_URL": redis,
        "TURNGATE_DATABASE_URL": settings.database_url or directory.database_url,
        "TURNGATE_WEIGHTS_DIR": str((settings.weights_dir or directory.weights).absolute()),
        "TURNGATE_PROJECT": project or settings.project,
    }


def _drawn(report: dict[str, Any]) -> RenderableType:
    compared = (
        f"project {report['project']}: {report['episodes']} episodes and {report['groups']} groups in "
        f"{report['keys']} keys, {report['settled']} settled in the ledger, {report['trained']} trained"
    )
    if report["journal_lines"]:
        compared += f", {report['journal_lines']} acknowledged"
    offenders = report["offenders"]
    lines = [f"not compared: {what}" for what in report["not_compared"]]
    if not offenders:
        return Group(f"{compared}; 0 offenders", *lines)
    table = Table("kind", "id", "expected", "found")
    for each in offenders[:SHOWN]:
        table.add_row(each["kind"], each["id"], each["expected"], each["found"])
    more = [f"… and {len(offenders) - SHOWN} more"] if len(offenders) > SHOWN else []
    return Group(f"{compared}; {len(offenders)} offenders", table, *more, *lines)
