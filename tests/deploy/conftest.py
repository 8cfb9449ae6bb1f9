"""The command line beside the gateway of a test."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.cli.app import main

Command = Callable[..., Awaitable[tuple[str, str]]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs `turngate` beside the gateway of the test; what it wrote on both outputs."""

    async def run(*arguments: str) -> tuple[str, str]:
        where = ("--data-dir", str(tmp_path / "nothing"))
        with suppress(SystemExit):
            await asyncio.to_thread(main, [*arguments, *where])
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run
