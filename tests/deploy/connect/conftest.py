"""The command line beside a gateway with a scripted engine."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.scripted_engine import running_engine

AGENT = [sys.executable, str(Path(__file__).with_name("agent.py"))]


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.rstrip().rpartition("\n")[2])


def heed_interrupts() -> None:
    """As a terminal starts it; a shell that starts tests in the background lets all of them ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Cli:
    def __init__(self, root: str) -> None:
        self.root = root

    async def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        known = {"TURNGATE_GATEWAY_ADMIN_KEY": ADMIN_KEY, **(environment or {})}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli", *arguments),
            env={**os.environ, **known},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=heed_interrupts,
        )

    async def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
        process = await self.start(*arguments, environment=environment)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def served(start_gateway: StartGateway, tokenizer: Tokenizer) -> AsyncIterator[Gateway]:
    async with running_engine() as scripted:
        scripted.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        async with start_gateway(scripted) as running:
            yield running


@pytest.fixture
def cli(served: Gateway) -> Cli:
    return Cli(served.url)
