"""Whether two workers on two cores do twice what one does on one: first turns of new episodes, as fast as they are answered.

N workers and their Redis have the first N cores. Load generator and engine have the rest; where there is none they share
with the workers, and the share they took is taken off: what counts is the turns of the time that was left. wrk and nginx
are used where they are installed, because they take least.
"""

import contextlib
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from tests.bench import load, wrk
from tests.bench.gateway import OUTPUT_TOKENS, WARM_UP, first_turns, measure
from tests.bench.gateway_model import VOCABULARY, write_gateway_model
from tests.bench.nginx import nginx_engine
from tests.bench.processes import pin
from tests.bench.responder import Replies
from tests.bench.stand import Target, gateway, responder
from tests.redis_server import running_redis

ROUNDS, SECONDS, CALLERS = 3, 6, 64  # enough callers for the kernel to spread them over the workers
REQUESTS = 6_000  # of our own load generator, which counts requests instead
LEAST_SCALING = 1.8


@dataclass(frozen=True, slots=True)
class Figure:
    """`others_cores` is what load generator and engine used of the machine, as the two before it are."""

    workers: int
    turns_per_second: float
    cpu_us: float
    store_us: float
    gateway_cores: float
    store_cores: float
    others_cores: float
    capacity: float  # turns a second, if the workers' cores had been theirs alone


@dataclass(frozen=True, slots=True)
class Machine:
    """What the gateways of this part share; `engine_pid` is the process that answers for the engine."""

    directory: Path
    redis_url: str
    engine: Target


def run(*counts: str) -> list[Figure]:
    """As many workers as are named, by default 1 and 2."""
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(_machine())
        targets = []
        for count in map(int, counts or ("1", "2")):
            served = gateway(
                machine.directory,
                machine.redis_url,
                machine.engine.port,
                name=f"{count}",
                TURNGATE_GATEWAY_WORKERS=f"{count}",
            )
            targets.append(stack.enter_context(served))
        for target in targets:
            measure(target, WARM_UP)
        taken = [[_measure(target, machine) for target in targets] for _ in range(ROUNDS)]
        return [_median(column) for column in zip(*taken, strict=True)]


@contextlib.contextmanager
def _machine() -> Iterator[Machine]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-bench-")))
        write_gateway_model(directory)
        engine = stack.enter_context(responder(directory, OUTPUT_TOKENS))
        if shutil.which("nginx"):
            replies = Replies(OUTPUT_TOKENS, VOCABULARY)
            engine = stack.enter_context(nginx_engine(directory, engine.port, replies))
        yield Machine(directory, stack.enter_context(running_redis(directory)), engine)


def _measure(target: Target, machine: Machine) -> Figure:
    workers, cores = int(target.name), sorted(os.sched_getaffinity(0))
    own, rest = cores[:workers], cores[workers:] or cores
    with _placed({target.pid: own, target.store or 0: own, machine.engine.pid: rest}, cores):
        return _loaded(target, machine, spare=len(cores) - workers)


def _loaded(target: Target, machine: Machine, *, spare: int) -> Figure:
    requests = first_turns(target, REQUESTS)
    meters = (target.cpu_seconds, target.store_seconds, machine.engine.cpu_seconds)
    before = [meter() for meter in meters]
    if wrk.is_installed():
        result = wrk.run(target.port, requests, seconds=SECONDS, concurrency=CALLERS)
    else:
        result = load.run(target.port, requests, requests=REQUESTS, concurrency=CALLERS)
    own, store, engine = (meter() - start for meter, start in zip(meters, before, strict=True))
    assert result.failures == 0
    others = (engine + result.cpu_seconds) / result.wall_seconds
    workers, rate = int(target.name), result.requests / result.wall_seconds
    left = workers - max(0.0, others - spare)
    return Figure(
        workers=workers,
        turns_per_second=rate,
        cpu_us=1e6 * own / result.requests,
        store_us=1e6 * store / result.requests,
        gateway_cores=own / result.wall_seconds,
        store_cores=store / result.wall_seconds,
        others_cores=others,
        capacity=rate * workers / left,
    )


@contextlib.contextmanager
def _placed(placed: dict[int, list[int]], cores: list[int]) -> Iterator[None]:
    """Each of these processes on its cores, and on all of them after the block."""
    for pid, own in placed.items():
        pin(pid, own)
    try:
        yield
    finally:
        for pid in placed:
            pin(pid, cores)


def _median(rounds: Sequence[Figure]) -> Figure:
    middle = statistics.median_low(figure.capacity for figure in rounds)
    return next(figure for figure in rounds if figure.capacity == middle)


def table(figures: Sequence[Figure]) -> Table:
    """`by CPU` is how the work done in a second of the CPU time of gateway and Redis grows; a busy machine changes it less."""
    rows = Table(
        title=f"Workers, each with a core, {CALLERS} callers; the limit is {LEAST_SCALING} x"
    )
    rows.add_column("workers", justify="right")
    costs = ("turns/s", "CPU µs/turn", "Redis CPU µs")
    cores = ("gateway cores", "Redis", "load, engine")
    for column in (*costs, *cores, "turns/s, their share off", "scaling", "by CPU"):
        rows.add_column(column, justify="right")
    alone = figures[0]
    for figure in figures:
        by_cpu = (alone.cpu_us + alone.store_us) / (figure.cpu_us + figure.store_us)
        rows.add_row(
            f"{figure.workers}",
            f"{figure.turns_per_second:,.0f}",
            f"{figure.cpu_us:,.0f}",
            f"{figure.store_us:,.0f}",
            f"{figure.gateway_cores:.2f}",
            f"{figure.store_cores:.2f}",
            f"{figure.others_cores:.2f}",
            f"{figure.capacity:,.0f}",
            f"{figure.capacity / alone.capacity:.2f} x",
            f"{by_cpu * figure.workers / alone.workers:.2f} x",
        )
    return rows
