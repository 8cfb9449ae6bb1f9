"""What a recorded turn costs the gateway, in CPU time of its process, beside plain proxying by nginx.

The gateway is the real one with a real Redis and its durable write; the engine is `responder.py`. CPU time is what
the gateway's own process used between the first and the last request, so neither the load nor the responder
counts, and a busy machine changes it little. Targets alternate within a round; the median round is reported.
"""

import asyncio
import contextlib
import secrets
import shutil
import statistics
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import httpx
from rich.table import Table

from tests.bench import bodies, load
from tests.bench.stand import Target, nginx, stand

OUTPUT_TOKENS = 300
ROUNDS = 3

Requests = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Work:
    """`prepare` gives the requests to a target, after what has to happen before they are counted."""

    name: str
    requests: int
    concurrency: int
    prepare: Callable[[Target, int], Awaitable[Requests]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: CPU microseconds per turn (and per streamed event) and the latencies seen by the caller."""

    target: str
    work: str
    cpu_us: float
    event_us: float | None
    p50_ms: float
    p99_ms: float

    @property
    def turns_per_second_per_core(self) -> float:
        return 1e6 / self.cpu_us


async def first_turns(target: Target, _num_requests: int) -> Requests:
    """Each call opens an episode."""
    return (load.post(target.path, target.headers, body) for body in bodies.small(stream=False))


async def streamed_turns(target: Target, _num_requests: int) -> Requests:
    return (load.post(target.path, target.headers, body) for body in bodies.small(stream=True))


async def later_turns(target: Target, num_requests: int) -> Requests:
    """Each call goes on from the recorded reply of an episode of its own."""
    headers = [
        target.headers | {"x-turngate-episode": f"bench-{secrets.token_hex(6)}"}
        for _ in range(num_requests)
    ]
    opening = bodies.opening()
    openings = (load.post(target.path, own, opening) for own in headers)
    await load.run(target.port, openings, requests=num_requests, concurrency=16)
    reply = await recorded_reply(target)
    turns = zip(headers, bodies.agent(reply), strict=False)
    return (load.post(target.path, own, body) for own, body in turns)


async def recorded_reply(target: Target) -> bodies.Message:
    """What the responder always says; behind a plain proxy it is no chat message."""
    url = f"http://127.0.0.1:{target.port}{target.path}"
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(url, headers=target.headers, content=bodies.opening())
    choices = answer.raise_for_status().json().get("choices")
    return choices[0]["message"] if choices else {"role": "assistant", "content": ""}


WORKS = (
    Work("small, c=1", 500, 1, first_turns),
    Work("small, c=16", 2_000, 16, first_turns),
    Work("agent, c=16", 600, 16, later_turns),
    Work("streamed, c=16", 160, 16, streamed_turns),
)
WARM_UP = Work("warm-up", 200, 16, first_turns)


async def measure(target: Target, work: Work) -> Figure:
    requests = await work.prepare(target, work.requests)
    before = target.cpu_seconds()
    result = await load.run(
        target.port, requests, requests=work.requests, concurrency=work.concurrency
    )
    assert result.failures == 0, (
        f"{target.name} failed {result.failures} of {work.requests} requests"
    )
    cpu = target.cpu_seconds() - before
    return Figure(
        target=target.name,
        work=work.name,
        cpu_us=1e6 * cpu / work.requests,
        event_us=1e6 * cpu / result.events if result.events else None,
        p50_ms=1e3 * result.quantile(0.5),
        p99_ms=1e3 * result.quantile(0.99),
    )


def median(rounds: list[Figure]) -> Figure:
    middle = statistics.median_low(figure.cpu_us for figure in rounds)
    return next(figure for figure in rounds if figure.cpu_us == middle)


async def compare(targets: list[Target], works: tuple[Work, ...]) -> list[Figure]:
    for target in targets:  # the first requests fill caches and connection pools
        await measure(target, WARM_UP)
    figures: dict[tuple[str, str], list[Figure]] = {}
    for _ in range(ROUNDS):
        for work in works:
            for target in targets:
                figures.setdefault((work.name, target.name), []).append(await measure(target, work))
    return [median(rounds) for rounds in figures.values()]


def run() -> list[Figure]:
    with contextlib.ExitStack() as stack:
        surroundings = stack.enter_context(stand(OUTPUT_TOKENS))
        targets = [surroundings.gateway]
        if shutil.which("nginx"):
            proxy = nginx(surroundings.directory, surroundings.engine_port)
            targets.append(stack.enter_context(proxy))
        return asyncio.run(compare(targets, WORKS))


def table(figures: list[Figure]) -> Table:
    rows = Table(title="Gateway: CPU time of one recorded turn (durable write included)")
    for column in ("work", "target"):
        rows.add_column(column)
    for column in ("CPU us/turn", "turns/s/core", "CPU us/event", "p50 ms", "p99 ms"):
        rows.add_column(column, justify="right")
    for figure in figures:
        rows.add_row(
            figure.work,
            figure.target,
            f"{figure.cpu_us:.0f}",
            f"{figure.turns_per_second_per_core:,.0f}",
            f"{figure.event_us:.0f}" if figure.event_us else "",
            f"{figure.p50_ms:.1f}",
            f"{figure.p99_ms:.1f}",
        )
    return rows
