"""A gateway on real Redis in front of a scripted engine, and a policy whose words a test can spell."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from openai import AsyncOpenAI

from gateway.serving import gateway
from gateway.settings import Settings
from rollout.store import Store
from rollout.tokenizer import Tokenizer
from tests.gateway.scripted_engine import ScriptedEngine, Stop, Tokens, running_engine

T = TypeVar("T")
ADMIN_KEY = "tg-admin-for-tests-only"


@dataclass
class Gateway:
    """A running gateway as a caller sees it."""

    url: str
    metrics_url: str
    project: str
    store: Store
    admin: httpx.AsyncClient

    def openai(self, key: str = ADMIN_KEY, *, path: str = "/v1", **options: Any) -> AsyncOpenAI:
        options.setdefault("max_retries", 0)
        return AsyncOpenAI(base_url=self.url + path, api_key=key, **options)

    async def metric(self, name: str) -> dict[str, float]:
        """Samples of a metric by their label part."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(self.metrics_url)).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name)]
        found = {key[len(name) :]: float(value) for key, value in lines}
        return {k: v for k, v in found.items() if k == "" or k.startswith("{")}


StartGateway = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture(scope="session")
def tokenizer(model_dir: Path) -> Tokenizer:
    return Tokenizer.load(model_dir)


@pytest.fixture
async def scripted(tokenizer: Tokenizer) -> AsyncIterator[ScriptedEngine]:
    """Says `Hello there.` unless told otherwise."""
    async with running_engine() as scripted:
        scripted.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        yield scripted


@pytest.fixture
def start_gateway(redis_url: str, model_dir: Path, tmp_path: Path) -> StartGateway:
    """Starts gateways on one Redis; settings may be overridden by name."""

    @asynccontextmanager
    async def start(*engines: ScriptedEngine | str, **overrides: Any) -> AsyncIterator[Gateway]:
        project = overrides.pop("project", f"test-{secrets.token_hex(4)}")
        values: dict[str, Any] = {
            "redis_url": redis_url,
            "database_url": f"sqlite:///{tmp_path / 'ledger.db'}",
            "weights_dir": tmp_path / "weights",
            "project": project,
            "model_dir": model_dir,
            "engines": tuple(e if isinstance(e, str) else e.url for e in engines),
            "admin_key": ADMIN_KEY,
            "port": 0,
            "metrics_port": 0,
            "shutdown_seconds": 2.0,
        }
        async with gateway(Settings(**(values | overrides))) as (address, _, services):
            url = f"http://{address.host}:{address.port}"
            async with httpx.AsyncClient(
                base_url=url, headers={"authorization": f"Bearer {ADMIN_KEY}"}, trust_env=False
            ) as admin:
                yield Gateway(
                    url,
                    f"http://{address.host}:{address.metrics_port}/metrics",
                    project,
                    services.store,
                    admin,
                )

    return start


@pytest.fixture
async def served(start_gateway: StartGateway, scripted: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted) as running:
        yield running


def spell(tokenizer: Tokenizer, text: str) -> list[Tokens]:
    """The text's tokens, one event each."""
    return [Tokens([id_]) for id_ in tokenizer.encode(text)]


def end_of_turn(tokenizer: Tokenizer) -> Stop:
    return Stop(min(tokenizer.eos_ids))


async def eventually(ask: Callable[[], Awaitable[T]], *, seconds: float = 5) -> T:
    """The first answer that is not empty; for effects that are announced to nobody."""
    async with asyncio.timeout(seconds):
        while not (answer := await ask()):
            await asyncio.sleep(0.01)
    return answer
