"""What a client does to its connection harms that client alone."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn
from tests.gateway.edge.bystander import CHAT, SMALL, Bystander, bystander, goes_on
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.profiles import per_profile
from tests.scripted_engine import ScriptedEngine, Tokens, Wait

SLOW_SECONDS = 1
HEAD = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
BODY = json.dumps(SMALL)
WHOLE = f"{HEAD}content-length: {len(BODY)}\r\n\r\n{BODY}"


@pytest.fixture
async def served(start_gateway: StartGateway, scripted: ScriptedEngine) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted, slow_client_seconds=SLOW_SECONDS) as running:
        yield running


@asynccontextmanager
async def connected(served: Gateway, sent: str = "") -> AsyncIterator[asyncio.StreamReader]:
    host, port = served.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=client, limit=1024)
    try:
        writer.write(sent.encode())
        await writer.drain()
        yield reader
    finally:
        writer.close()


async def answered(served: Gateway, sent: str) -> tuple[int, dict[str, Any]]:
    """The status and the error of what was sent, on a connection that the gateway closes."""
    async with connected(served, sent) as reader, asyncio.timeout(30):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"x-request-id: " in head
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]


async def test_an_empty_line_after_a_body_is_no_request(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A client that ends a body with one, and whose call takes longer than a slow sender has, is answered."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, end_of_turn(tokenizer))
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(WHOLE.encode())
    await wait.reached.wait()
    writer.write(b"\r\n")
    asyncio.get_running_loop().call_later(4 * SLOW_SECONDS, wait.event.set)
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200")


TOO_LARGE = (
    f"{HEAD}x-large: {'y' * 1_000_000}\r\n\r\n",
    HEAD + "".join(f"x-{i}: {'y' * 100}\r\n" for i in range(1000)) + "\r\n",
    f"GET /v1/models?{'y' * 100_000} HTTP/1.1\r\nhost: x\r\n\r\n",
    f"{HEAD}x-endless: {'y' * 100_000}",
)


@pytest.mark.parametrize("sent", TOO_LARGE, ids=["one", "many", "address", "endless"])
async def test_large_headers_are_refused(served: Gateway, sent: str) -> None:
    """Headers or an address over the limit are 431 before they are read to their end."""
    status, error = await answered(served, sent)
    assert (status, error["code"]) == (431, "headers_too_large")


async def test_what_is_not_http_is_refused(served: Gateway) -> None:
    """Garbage gets the dialect's error body, too."""
    for sent in ("hello\r\n\r\n", "GET\r\n\r\n", "GET /\xe9 HTTP/1.1\r\nhost: x\r\n\r\n"):
        status, error = await answered(served, sent)
        assert (status, error["code"]) == (400, "invalid_http")


async def test_a_request_that_does_not_arrive_is_given_up(served: Gateway) -> None:
    """A head and a body that stop in the middle are 408."""
    for sent in (HEAD, f"{HEAD}content-length: 100\r\n\r\n{{"):
        status, error = await answered(served, sent)
        assert (status, error["code"]) == (408, "request_timeout")


async def test_half_sent_requests_are_gone_soon(served: Gateway) -> None:
    """Hundreds of them stop nobody, and none is left after the limit."""

    async def attempt() -> Bystander:
        async with AsyncExitStack() as stack, bystander(served) as watching:
            readers = [
                await stack.enter_async_context(connected(served, HEAD))
                for _ in range(per_profile(ci=400, nightly=1500))
            ]
            async with asyncio.timeout(60):
                ends = await asyncio.gather(*(reader.read() for reader in readers))
        assert {end.split()[1] for end in ends} == {b"408"}
        return watching

    assert await goes_on(attempt)


async def test_an_idle_connection_stays(served: Gateway) -> None:
    """A client may wait between two calls for longer than within one."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        client.headers = served.admin.headers
        first = await client.post(CHAT, json=SMALL)
        await asyncio.sleep(3 * SLOW_SECONDS)
        second = await client.post(CHAT, json=SMALL)
    assert (first.status_code, second.status_code) == (200, 200)
    assert len({each.extensions["network_stream"] for each in (first, second)}) == 1


async def test_a_client_that_takes_nothing_is_cut(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A stream that nobody reads fills one buffer; then the call is aborted in the engine."""
    word = tokenizer.encode("melon")
    scripted.script(*[Tokens(word * 20)] * (3500 // len(word * 20)), end_of_turn(tokenizer))
    large = {"stream": True, "max_tokens": 4000, "logprobs": True, "top_logprobs": 20}
    body = json.dumps(SMALL | large)
    sent = f"{HEAD}content-length: {len(body)}\r\n\r\n{body}"
    async with connected(served, sent), asyncio.timeout(30):
        await scripted.was_aborted.wait()


async def test_connections_are_limited(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """One more than the limit is told to come back; those that are open go on."""
    async with start_gateway(scripted, max_connections=2) as served, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(connected(served))
        assert (await answered(served, WHOLE))[0] == 503
