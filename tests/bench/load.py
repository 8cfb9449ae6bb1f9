"""A closed-loop HTTP client that counts: `concurrency` connections, each sends when its last reply is complete."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import httptools


@dataclass(slots=True)
class Result:
    """Wall seconds of the whole run, and of each request; events are body chunks of streamed replies."""

    wall_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    events: int = 0

    def quantile(self, level: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(level * len(ordered)))]


class Caller(asyncio.Protocol):
    """One connection of several that share their requests, one at a time until the shared budget is spent."""

    def __init__(self, requests: Iterator[bytes], budget: list[int], result: Result) -> None:
        self.requests, self.budget, self.result = requests, budget, result
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        if self.budget[0] == 0:
            self.transport.close()
            return
        self.budget[0] -= 1
        self.parser = httptools.HttpResponseParser(self)
        request = next(self.requests)
        self.started = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.result.events += body.count(b"data: ")

    def on_message_complete(self) -> None:
        self.result.latencies.append(time.perf_counter() - self.started)
        self.result.failures += self.parser.get_status_code() != 200
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_result(None)


def post(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """The bytes of one HTTP/1.1 request."""
    lines = [f"POST {path} HTTP/1.1", "host: bench", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


async def run(
    port: int, requests_to_send: Iterator[bytes], *, requests: int, concurrency: int
) -> Result:
    """Send the first so many over this many connections; AssertionError when one broke early."""
    result, budget = Result(), [requests]
    loop, started = asyncio.get_running_loop(), time.perf_counter()
    finished = []
    for _ in range(concurrency):
        _, protocol = await loop.create_connection(
            partial(Caller, requests_to_send, budget, result), "127.0.0.1", port
        )
        finished.append(protocol.finished)
    await asyncio.gather(*finished)
    result.wall_seconds = time.perf_counter() - started
    assert len(result.latencies) == requests, "a connection was closed before its reply"
    return result
