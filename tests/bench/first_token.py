"""Time to the first token of a stream through the gateway, beside the engine's own: what a caller waits for.

Callers start one after the other within one stream's time, as independent agents do. `python -m tests.bench first_token`
asks the responder, whose first token comes after 5 ms; `first_token:sglang` asks the real SGLang on this machine's CPU.
"""

import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from rich.table import Table

from deploy.demo.starter.starter import create_untrained
from rollout.tokenizer.tokenizer import Tokenizer
from tests.bench import bodies, load
from tests.bench.gateway import STREAM_SECONDS, WARM_UP, measure
from tests.bench.stand import Target, gateway, stand
from tests.engines import ADMIN_KEY, start_engine
from tests.redis_server import running_redis

FACTOR, MORE_MS = 1.2, 5.0  # what the gateway may make of the engine's own time
CALLERS = (1, 32)
ROUNDS = 2
PROMPT_IDS = range(10, 250)  # bytes, in every byte-level vocabulary

Requests = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Figure:
    callers: int
    engine_p50_ms: float
    engine_p99_ms: float
    gateway_p50_ms: float
    gateway_p99_ms: float

    @property
    def limit_ms(self) -> float:
        return FACTOR * self.engine_p50_ms + MORE_MS


@dataclass(frozen=True, slots=True)
class Asked:
    """One way to the engine, and the requests that go it."""

    port: int
    requests: Callable[[], Requests]


def through(target: Target, **more: int) -> Asked:
    """The chat completion that opens an episode."""
    streams = bodies.small(stream=True, **more)
    return Asked(
        target.port, lambda: (load.post(target.path, target.headers, body) for body in streams)
    )


def straight(port: int, num_tokens: int, *, prompt_tokens: int) -> Asked:
    """`/generate` with as long a prompt, which starts like no other."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    source = random.Random(0)

    def bodies_of_engine() -> Requests:
        while True:
            body = {
                "input_ids": source.choices(PROMPT_IDS, k=prompt_tokens),
                "sampling_params": {"max_new_tokens": num_tokens, "temperature": 1.0},
                "return_logprob": True,
                "stream": True,
            }
            yield load.post("/generate", headers, orjson.dumps(body))

    return Asked(port, bodies_of_engine)


def prompt_tokens(model_dir: Path) -> int:
    """About what the gateway makes of such a chat completion."""
    messages = orjson.loads(next(bodies.small(stream=True)))["messages"]
    tokenizer = Tokenizer.load(model_dir)
    return sum(len(tokenizer.encode(message["content"])) for message in messages)


def compare(
    engine: Asked, served: Asked, *, streams_per_caller: int, stream_seconds: float
) -> list[Figure]:
    """The two ways in turn."""
    figures = []
    for callers in CALLERS:
        streams = max(8, streams_per_caller * callers)
        seen: tuple[list[float], list[float]] = ([], [])
        for _, (way, times) in itertools.product(
            range(ROUNDS), zip((engine, served), seen, strict=True)
        ):
            result = load.run(
                way.port,
                way.requests(),
                requests=streams,
                concurrency=callers,
                spread_seconds=stream_seconds,
            )
            assert result.failures == 0
            assert len(result.first_tokens) == streams
            times.extend(1e3 * seconds for seconds in result.first_tokens)
        quantiles = [load.quantile(times, level) for times in seen for level in (0.5, 0.99)]
        figures.append(Figure(callers, *quantiles))
    return figures


def run(engine: str = "responder") -> list[Figure]:
    return {"responder": beside_responder, "sglang": beside_sglang}[engine]()


def beside_responder() -> list[Figure]:
    num_tokens = 300
    with stand(num_tokens) as surroundings:
        measure(surroundings.gateway, WARM_UP)
        return compare(
            straight(
                surroundings.engine_port,
                num_tokens,
                prompt_tokens=prompt_tokens(surroundings.directory),
            ),
            through(surroundings.gateway),
            streams_per_caller=2,
            stream_seconds=STREAM_SECONDS,
        )


def beside_sglang() -> list[Figure]:
    """A model small enough for one core, replies of a few tokens."""
    num_tokens = 32
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tg-bench-")))
        create_untrained(directory, seed=0)
        port = int(stack.enter_context(start_engine(directory)).rpartition(":")[2])
        redis_url = stack.enter_context(running_redis(directory))
        served = gateway(directory, redis_url, port, TURNGATE_ENGINE_ADMIN_KEY=ADMIN_KEY)
        target = stack.enter_context(served)
        return compare(
            straight(port, num_tokens, prompt_tokens=prompt_tokens(directory)),
            through(target, max_tokens=num_tokens),
            streams_per_caller=4,
            stream_seconds=1.0,
        )


def table(figures: Sequence[Figure]) -> Table:
    title = f"First token through the gateway; the limit is {FACTOR} x the engine's own + {MORE_MS:.0f} ms"
    rows = Table(title=title)
    for column in ("streams", "engine p50", "p99", "gateway p50", "p99", "limit", "ms more, p50"):
        rows.add_column(column, justify="right")
    for figure in figures:
        times = (
            figure.engine_p50_ms,
            figure.engine_p99_ms,
            figure.gateway_p50_ms,
            figure.gateway_p99_ms,
            figure.limit_ms,
            figure.gateway_p50_ms - figure.engine_p50_ms,
        )
        rows.add_row(f"{figure.callers}", *(f"{each:.1f}" for each in times))
    return rows
