"""What a recorded turn costs the gateway and its Redis, in CPU time of their processes, beside plain proxying by nginx.

The gateway is the real one with a real Redis that writes each commit to disk before it answers; the engine is
`responder.py`. CPU time is what the processes used between the first and the last request, so neither the load nor the
responder counts. Targets alternate within a round; the median round is reported.
"""

import contextlib
import secrets
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx
from rich.table import Table

from tests.bench import bodies, load
from tests.bench.nginx import nginx
from tests.bench.stand import Target, stand

OUTPUT_TOKENS = 300
ROUNDS = 3

Requests = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Work:
    """`prepare` gives the requests to a target, after what has to happen before they are counted."""

    name: str
    requests: int
    concurrency: int
    prepare: Callable[[Target, int], Requests]
    spread_seconds: float = 0.0  # in which the callers start


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: CPU microseconds per turn or stream, of the gateway and of its Redis, and what the caller saw."""

    target: str
    work: str
    cpu_us: float
    store_us: float
    events: float | None  # that the caller got of one stream
    p50_ms: float
    p99_ms: float

    @property
    def turns_per_second_per_core(self) -> float:
        return 1e6 / self.cpu_us

    @property
    def event_us(self) -> float | None:
        return self.cpu_us / self.events if self.events else None


def first_turns(target: Target, _num_requests: int) -> Requests:
    """Each call opens an episode."""
    return (load.post(target.path, target.headers, body) for body in bodies.small(stream=False))


def streamed_turns(target: Target, _num_requests: int) -> Requests:
    return (load.post(target.path, target.headers, body) for body in bodies.small(stream=True))


def later_turns(target: Target, num_requests: int) -> Requests:
    """Each call goes on from the recorded reply of an episode of its own."""
    headers = [
        target.headers | {"x-turngate-episode": f"bench-{secrets.token_hex(6)}"}
        for _ in range(num_requests)
    ]
    opening = bodies.opening()
    openings = (load.post(target.path, own, opening) for own in headers)
    load.run(target.port, openings, requests=num_requests, concurrency=16)
    turns = zip(headers, bodies.agent(recorded_reply(target)), strict=False)
    return (load.post(target.path, own, body) for own, body in turns)


def recorded_reply(target: Target) -> bodies.Message:
    """What the responder always says; behind a plain proxy it is no chat message."""
    url = f"http://127.0.0.1:{target.port}{target.path}"
    answer = httpx.post(url, headers=target.headers, content=bodies.opening(), timeout=30)
    choices = answer.raise_for_status().json().get("choices")
    return choices[0]["message"] if choices else {"role": "assistant", "content": ""}


STREAM_SECONDS = 1.5  # of 300 tokens at the responder's pace
WORKS = (
    Work("small, 1 caller", 500, 1, first_turns),
    Work("small, 16 callers", 2_000, 16, first_turns),
    Work("agent, 16 callers", 600, 16, later_turns),
    Work("streamed, 16 callers", 64, 16, streamed_turns, spread_seconds=STREAM_SECONDS),
)
WARM_UP = Work("warm-up", 200, 16, first_turns)


def measure(target: Target, work: Work) -> Figure:
    requests = work.prepare(target, work.requests)
    before, store_before = target.cpu_seconds(), target.store_seconds()
    result = load.run(
        target.port,
        requests,
        requests=work.requests,
        concurrency=work.concurrency,
        spread_seconds=work.spread_seconds,
    )
    cpu, store = target.cpu_seconds() - before, target.store_seconds() - store_before
    assert result.failures == 0, (
        f"{target.name} failed {result.failures} of {work.requests} requests"
    )
    return Figure(
        target=target.name,
        work=work.name,
        cpu_us=1e6 * cpu / work.requests,
        store_us=1e6 * store / work.requests,
        events=result.events / work.requests if result.events else None,
        p50_ms=1e3 * result.p50_seconds,
        p99_ms=1e3 * result.p99_seconds,
    )


def median(rounds: Sequence[Figure]) -> Figure:
    middle = statistics.median_low(figure.cpu_us for figure in rounds)
    return next(figure for figure in rounds if figure.cpu_us == middle)


Rounds = dict[tuple[str, str], list[Figure]]


def compare(targets: Sequence[Target], works: Sequence[Work], *, rounds: int = ROUNDS) -> Rounds:
    """All rounds of each work and target, in this order."""
    for target in targets:  # the first requests fill caches and connection pools
        measure(target, WARM_UP)
    figures: Rounds = {}
    for _ in range(rounds):
        for work in works:
            for target in targets:
                figures.setdefault((work.name, target.name), []).append(measure(target, work))
    return figures


def run() -> list[Figure]:
    with contextlib.ExitStack() as stack:
        surroundings = stack.enter_context(stand(OUTPUT_TOKENS))
        targets = [surroundings.gateway]
        if shutil.which("nginx"):
            proxy = nginx(surroundings.directory, surroundings.engine_port)
            targets.append(stack.enter_context(proxy))
        return [median(rounds) for rounds in compare(targets, WORKS).values()]


def table(figures: Sequence[Figure]) -> Table:
    rows = Table(title="Gateway: CPU time of one recorded turn or stream, on disk before it ends")
    for column in ("work", "target"):
        rows.add_column(column)
    numbers = ("CPU µs", "turns/s/core", "Redis CPU µs", "events", "µs/event", "p50 ms", "p99 ms")
    for column in numbers:
        rows.add_column(column, justify="right")
    for figure in figures:
        rows.add_row(
            figure.work,
            figure.target,
            f"{figure.cpu_us:,.0f}",
            f"{figure.turns_per_second_per_core:,.0f}",
            f"{figure.store_us:.0f}" if figure.store_us else "",
            f"{figure.events:.0f}" if figure.events else "",
            f"{figure.event_us:.0f}" if figure.event_us else "",
            f"{figure.p50_ms:.1f}",
            f"{figure.p99_ms:.1f}",
        )
    return rows
