"""A closed-loop HTTP client that counts: `concurrency` connections, each sends when its last reply is complete.

It runs in a process of its own, so that building and sending requests is seen apart from everything else.
"""

import asyncio
import multiprocessing
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import cast

import httptools
import uvloop

# An event with something sampled, of a chat completion or of an engine; a role or an empty delta is none.
TOKEN = re.compile(rb'"content":"[^"]|"output_ids":\[\d')
FORK = multiprocessing.get_context(
    "fork"
)  # requests are made as they are sent: the child inherits the generator


@dataclass(frozen=True, slots=True)
class Result:
    """What a run saw; events are those of streamed replies, seconds of latency start with the request."""

    requests: int
    failures: int
    events: int
    wall_seconds: float
    cpu_seconds: float  # of the client itself
    p50_seconds: float
    p99_seconds: float
    first_tokens: Sequence[float] = ()  # seconds, of streamed replies


@dataclass(slots=True)
class Tally:
    """What the connections of one run have seen so far."""

    latencies: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    failures: int = 0
    events: int = 0


class Caller(asyncio.Protocol):
    """One connection of several that share their requests, one at a time until the shared budget is spent."""

    def __init__(self, requests: Iterator[bytes], budget: list[int], tally: Tally) -> None:
        self.requests, self.budget, self.tally = requests, budget, tally
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        if self.budget[0] == 0:
            self.transport.close()
            return
        self.budget[0] -= 1
        self.parser = httptools.HttpResponseParser(self)
        self.waits_for_token = True
        request = next(self.requests)
        self.started = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        events = body.count(b"data: ")
        self.tally.events += events
        if events and self.waits_for_token and TOKEN.search(body):
            self.waits_for_token = False
            self.tally.first_tokens.append(time.perf_counter() - self.started)

    def on_message_complete(self) -> None:
        self.tally.latencies.append(time.perf_counter() - self.started)
        self.tally.failures += self.parser.get_status_code() != 200
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


def quantile(values: Sequence[float], level: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(level * len(ordered)))]


def run(
    port: int,
    requests_to_send: Iterator[bytes],
    *,
    requests: int,
    concurrency: int,
    spread_seconds: float = 0.0,
) -> Result:
    """Send the first so many over this many connections, the first of which start within `spread_seconds`.

    AssertionError when a connection broke early. The iterator that the caller holds does not move.
    """
    receiver, sender = FORK.Pipe(duplex=False)
    sending = partial(
        _sending, port, requests_to_send, requests, concurrency, spread_seconds=spread_seconds
    )
    child = FORK.Process(target=_report, args=(sender, sending))
    child.start()
    sender.close()
    try:
        result = receiver.recv()
    finally:
        child.join()
    assert isinstance(result, Result), result
    return result


def _report(sender: Connection, sending: Callable[[], Coroutine[None, None, Result]]) -> None:
    try:
        sender.send(uvloop.run(sending()))
    except Exception as error:
        sender.send(repr(error))


async def _sending(
    port: int, sent: Iterator[bytes], requests: int, concurrency: int, *, spread_seconds: float
) -> Result:
    tally, budget = Tally(), [requests]
    loop, cpu, started = asyncio.get_running_loop(), time.process_time(), time.perf_counter()
    callers = []
    for place in range(concurrency):
        _, caller = await loop.create_connection(
            partial(Caller, sent, budget, tally), "127.0.0.1", port
        )
        loop.call_later(spread_seconds * place / concurrency, caller.send)
        callers.append(caller)
    await asyncio.gather(*(caller.finished for caller in callers))
    assert len(tally.latencies) == requests, "a connection was closed before its reply"
    return Result(
        requests=requests,
        failures=tally.failures,
        events=tally.events,
        wall_seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu,
        p50_seconds=quantile(tally.latencies, 0.5),
        p99_seconds=quantile(tally.latencies, 0.99),
        first_tokens=tally.first_tokens,
    )
