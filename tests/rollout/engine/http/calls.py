"""Calls to a server that does what a test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rollout.engine.http.client import HttpClient
from tests.rollout.engine.http.raw_server import Handle, RawServer, serving

SECONDS = 5.0
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LARGE = bytes(8 * 2**20)


@asynccontextmanager
async def calling(
    handle: Handle, *, connect_seconds: float = SECONDS, idle_seconds: float = SECONDS
) -> AsyncIterator[tuple[HttpClient, RawServer]]:
    async with serving(handle) as server:
        client = HttpClient(
            server.url, headers={}, connect_seconds=connect_seconds, idle_seconds=idle_seconds
        )
        try:
            yield client, server
        finally:
            await client.close()


async def asked(client: HttpClient, body: bytes = b"{}") -> bytes:
    status, answer = await client.ask("/generate", body, seconds=SECONDS)
    assert status == 200
    return answer
