"""How calls leave the process. This is the only module that knows httpx, and the only one with a line for each kind of client."""

import asyncio
import ipaddress
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from turngate.errors import Unreachable


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    body: object = None
    query: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport(Protocol):
    root: str

    async def send(self, call: Call) -> Answer:
        """Raise Unreachable if no answer comes."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class BlockingTransport:
    """Its coroutines never suspend. May be used by many threads."""

    def __init__(self, root: str, headers: Mapping[str, str], timeout: float) -> None:
        self.root = root
        self.http = httpx.Client(
            base_url=root, headers=headers, timeout=timeout, trust_env=uses_proxy(root)
        )
        weakref.finalize(self, self.http.close)

    async def send(self, call: Call) -> Answer:
        try:
            return _answer(self.http.send(_request(self.http, call)))
        except httpx.TransportError as error:
            raise _unreachable(self.root, error) from error

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - no event loop runs this


class AwaitingTransport:
    def __init__(self, root: str, headers: Mapping[str, str], timeout: float) -> None:
        self.root = root
        # A pool that is too small would make agents wait for each other.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self.http = httpx.AsyncClient(
            base_url=root,
            headers=headers,
            timeout=timeout,
            limits=limits,
            trust_env=uses_proxy(root),
        )

    async def send(self, call: Call) -> Answer:
        try:
            return _answer(await self.http.send(_request(self.http, call)))
        except httpx.TransportError as error:
            raise _unreachable(self.root, error) from error

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def uses_proxy(root: str) -> bool:
    """Whether the proxies of the environment apply; a gateway on this machine is reached without them."""
    host = urlsplit(root).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def _request(http: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    return http.build_request(
        call.method,
        call.path,
        json=call.body,
        params=dict(call.query) or None,
        headers=dict(call.headers),
    )


def _answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.headers, response.content)


def _unreachable(root: str, error: httpx.TransportError) -> Unreachable:
    said = str(error) or type(error).__name__
    return Unreachable(
        f"no answer from {root}: {said}; is TURNGATE_BASE_URL right, and does the gateway run?"
    )
