"""A gateway for tests: in this process, on free ports, as a caller sees it."""

import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.families.model_family import ModelFamily
from gateway.families.registry import FAMILIES
from gateway.serving import gateway
from gateway.settings import Settings
from rollout.engine.factory import ENGINE_KINDS, OpenEngine
from rollout.store.store import Store
from tests.gateway_files import create_ledger, read_model

ADMIN_KEY = "tg-admin-for-tests-only"
# Gateways in tests speak no TLS, and reading the certificates of the machine takes longer than a call.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


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
        options.setdefault("http_client", openai.DefaultAsyncHttpxClient(verify=NO_CERTIFICATES))
        return AsyncOpenAI(base_url=self.url + path, api_key=key, **options)

    def anthropic(self, key: str = ADMIN_KEY, *, path: str = "", **options: Any) -> AsyncAnthropic:
        options.setdefault("max_retries", 0)
        options.setdefault("http_client", anthropic.DefaultAsyncHttpxClient(verify=NO_CERTIFICATES))
        return AsyncAnthropic(base_url=self.url + path, api_key=key, **options)

    async def metric(self, name: str) -> dict[str, float]:
        """Samples of a metric by their label part."""
        async with httpx.AsyncClient(verify=NO_CERTIFICATES, trust_env=False) as client:
            text = (await client.get(self.metrics_url)).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name)]
        found = {key[len(name) :]: float(value) for key, value in lines}
        return {k: v for k, v in found.items() if k == "" or k.startswith("{")}


StartGateway = Callable[..., AbstractAsyncContextManager[Gateway]]


@asynccontextmanager
async def running_gateway(
    *,
    dialects: Sequence[Callable[[], Dialect]] = DIALECTS,
    families: Sequence[ModelFamily] = FAMILIES,
    engine_kinds: Mapping[str, OpenEngine] = ENGINE_KINDS,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """Serve while the block runs; settings may be overridden by name."""
    values: dict[str, Any] = {
        "project": f"test-{secrets.token_hex(4)}",
        "admin_key": ADMIN_KEY,
        "port": 0,
        "metrics_port": 0,
        "shutdown_seconds": 2.0,
    }
    chosen = Settings(**(values | settings))
    create_ledger(chosen.database_url)
    serving = gateway(
        chosen,
        dialects=dialects,
        families=families,
        engine_kinds=engine_kinds,
        read_model=read_model,
    )
    async with serving as (address, _, services):
        url = f"http://{address.host}:{address.port}"
        async with httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {ADMIN_KEY}"},
            verify=NO_CERTIFICATES,
            trust_env=False,
            timeout=60,  # a joined call gets nothing until the first one ends
        ) as admin:
            metrics_url = f"http://{address.host}:{address.metrics_port}/metrics"
            yield Gateway(url, metrics_url, chosen.project, services.store, admin)
