"""Thousands of damaged requests to every door: each is answered, none with a 500, and the gateway goes on."""

import asyncio
import os
from collections import Counter
from itertools import islice

import httpx
import pytest

from tests.gateway.edge.bystander import CHAT, SMALL
from tests.gateway.edge.fuzzed_requests import Fuzzed, fuzzed_requests
from tests.gateways import Gateway
from tests.profiles import per_profile

NUM_CONNECTIONS = 8
STUCK_SECONDS = 60


class Fuzzer:
    """Sends requests over a few connections, and keeps what went wrong."""

    def __init__(self, address: str) -> None:
        self.statuses: Counter[int] = Counter()
        self.failures: list[tuple[str, bytes]] = []
        self._host, port = address.removeprefix("http://").split(":")
        self._port = int(port)

    async def run(self, seed: int, num_requests: int) -> None:
        """One connection, and a new one whenever the gateway closes it as it said it would."""
        requests = islice(fuzzed_requests(seed), num_requests)
        while (request := next(requests, None)) is not None:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                while await self._exchange(request, reader, writer):
                    if (request := next(requests, None)) is None:
                        return
            finally:
                writer.close()

    async def _exchange(
        self, request: Fuzzed, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Send one and read its answer; whether the connection goes on."""
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                writer.write(request.data)
                await writer.drain()
                status, head = await _answer(reader, has_body=request.method != b"HEAD")
        except (TimeoutError, OSError, EOFError) as error:
            self.failures.append((repr(error), request.data))
            return False
        self.statuses[status] += 1
        if status >= 500:
            self.failures.append((f"status {status}", request.data))
        return b"connection: close" not in head


async def _answer(reader: asyncio.StreamReader, *, has_body: bool) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(None, 2)[1])
    if status == 100:
        return await _answer(reader, has_body=has_body)
    if has_body and status not in (204, 304):
        await _skip_body(reader, head)
    return status, head


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length: "):
            await reader.readexactly(int(line[16:]))
            return
    while num_bytes := int(await reader.readline(), 16):
        await reader.readexactly(num_bytes + 2)
    await reader.readline()


@pytest.mark.timeout(per_profile(ci=300, nightly=3600))
async def test_damaged_requests_are_answered(served: Gateway) -> None:
    """Whatever arrives at whatever door, the answer is whole and no 500, and the next call is served."""
    num_requests = per_profile(ci=2_000, nightly=100_000)
    seed = int.from_bytes(os.urandom(4))
    fuzzer = Fuzzer(served.url)
    share = num_requests // NUM_CONNECTIONS
    async with asyncio.TaskGroup() as tasks:
        for number in range(NUM_CONNECTIONS):
            tasks.create_task(fuzzer.run(seed + number, share))
    assert fuzzer.failures[:5] == [], f"seed {seed}"
    assert fuzzer.statuses.total() == share * NUM_CONNECTIONS
    async with httpx.AsyncClient(headers=served.admin.headers, trust_env=False) as client:
        assert (await client.post(served.url + CHAT, json=SMALL)).status_code == 200
