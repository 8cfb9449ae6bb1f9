"""What long episodes cost to keep and to train: bytes in Redis per token, and rows against one row per turn.

The stock `openai` SDK plays them through a gateway into a real Redis; the engine is scripted and says random tokens.
"""

import asyncio
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from rich.table import Table

from rollout.episode.sequences import linearize
from rollout.episode.trie import Trie
from rollout.tokenizer.tokenizer import Tokenizer
from tests.bench.gateway_model import write_gateway_model
from tests.bench.observations import observations
from tests.gateways import Gateway, running_gateway
from tests.redis_server import running_redis
from tests.scripted_engine import Step, Stop, Tokens, running_engine


@dataclass(frozen=True, slots=True)
class Shape:
    """So many turns; tokens of the first prompt, of each output, and of what is observed after it."""

    turns: int
    prompt: int
    output: int
    observed: int


SHAPES = (Shape(40, 6_000, 250, 750), Shape(100, 8_000, 200, 500))


@dataclass(frozen=True, slots=True)
class Figure:
    shape: Shape
    distinct_tokens: int
    stored_tokens: int
    redis_bytes: int  # of every key of the episode's project
    tokens_of_one_row_per_turn: int
    tokens_trained: int

    @property
    def stored_ratio(self) -> float:
        return self.stored_tokens / self.distinct_tokens

    @property
    def bytes_per_token(self) -> float:
        return self.redis_bytes / self.distinct_tokens

    @property
    def merge_ratio(self) -> float:
        return self.tokens_of_one_row_per_turn / self.tokens_trained


async def measure(shape: Shape, model_dir: Path, redis_url: str, **options: Any) -> Figure:
    tokenizer = Tokenizer.load(model_dir)
    directory = model_dir.parent
    async with running_engine() as engine:
        engine.policy = lambda body: _output(body, tokenizer)
        async with running_gateway(
            redis_url=redis_url,
            database_url=f"sqlite:///{directory / 'ledger.db'}",
            weights_dir=directory / "weights",
            model_dir=model_dir,
            engines=(engine.url,),
        ) as served:
            totals = await play(served, shape, tokenizer, options)
            turns = await served.store.turns("ep_1")
            size = await asyncio.to_thread(_redis_bytes, redis_url, served.project)
    return Figure(
        shape=shape,
        distinct_tokens=totals[-1],  # the last prompt holds all that came before
        stored_tokens=sum(len(turn.context_ids) + turn.num_output_tokens for turn in turns),
        redis_bytes=size,
        tokens_of_one_row_per_turn=sum(totals),
        tokens_trained=sum(len(row) for row in linearize(Trie(turns))),
    )


async def play(
    served: Gateway, shape: Shape, tokenizer: Tokenizer, options: dict[str, Any]
) -> list[int]:
    """One agent's turns; the tokens of prompt and output of each."""
    first, *news = observations(tokenizer, shape.turns, shape.prompt, shape.observed)
    messages: list[Any] = [{"role": "user", "content": first}]
    totals = []
    async with served.openai(path="/e/ep_1/v1") as client:
        for observed in news:
            completion = await client.chat.completions.create(
                model="policy", messages=messages, max_tokens=shape.output, **options
            )
            assert completion.usage is not None
            totals.append(completion.usage.total_tokens)
            answer = completion.choices[0].message.model_dump(exclude_none=True)
            messages += [answer, {"role": "user", "content": observed}]
    return totals


def _output(body: dict[str, Any], tokenizer: Tokenizer) -> Iterator[Step]:
    """As many tokens as were asked for, the last of which ends the turn."""
    length = body["sampling_params"]["max_new_tokens"] - 1
    ids = random.Random(body["rid"]).choices(range(300, 1_000), k=length)
    yield Tokens(ids, [-random.Random(token).expovariate(1.0) for token in ids])
    yield Stop(min(tokenizer.eos_ids))


def _redis_bytes(url: str, project: str) -> int:
    with redis.Redis.from_url(url) as client:
        keys = client.scan_iter(f"turngate:{{{project}}}:*")
        return sum(client.memory_usage(key, samples=0) or 0 for key in keys)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as name, running_redis(Path(name)) as url:
        model_dir = Path(name) / "model"
        model_dir.mkdir()
        write_gateway_model(model_dir)
        return [asyncio.run(measure(shape, model_dir, url)) for shape in SHAPES]


def table(figures: Sequence[Figure]) -> Table:
    rows = Table(title="Episodes: tokens kept, bytes of Redis, tokens trained")
    rows.add_column("turns (prompt, output, observed)")
    for column in ("distinct tokens", "stored", "bytes per token", "one row per turn", "trained"):
        rows.add_column(column, justify="right")
    rows.add_column("fewer by", justify="right")
    for figure in figures:
        shape = figure.shape
        rows.add_row(
            f"{shape.turns} ({shape.prompt}, {shape.output}, {shape.observed})",
            f"{figure.distinct_tokens:,}",
            f"{figure.stored_ratio:.3f} x",
            f"{figure.bytes_per_token:.1f}",
            f"{figure.tokens_of_one_row_per_turn:,}",
            f"{figure.tokens_trained:,}",
            f"{figure.merge_ratio:.1f} x",
        )
    return rows
