"""What a turn costs the gateway as its episode grows: with equal suffixes, turn 100 beside turn 2.

Each turn sends the whole conversation again, as every chat client does, so reading the body and handing the prompt's ids
to the engine cannot but grow; everything else must cost what the new suffix costs.
"""

import asyncio
import inspect
import json
import statistics
import tokenize
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
import orjson
from rich.table import Table

from rollout.tokenizer import Tokenizer
from tests.bench.stand import Target, stand

NUM_TURNS, PROMPT_TOKENS, OUTPUT_TOKENS, OBSERVED_TOKENS = 100, 8_000, 200, 500
NUM_EPISODES = 12
SHOWN_TURNS = (1, 2, 10, 25, 50, 100)


@dataclass(frozen=True, slots=True)
class Figure:
    """The median turn of this number, over all episodes."""

    turn: int
    prompt_tokens: int
    body_bytes: int
    cpu_us: float
    against_turn_2: float


class Talk:
    """One episode's conversation, as its client keeps it."""

    def __init__(self, name: str, words: list[str]) -> None:
        self.name = name
        self._words = iter(words)
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": next(self._words)}]

    def body(self) -> bytes:
        return orjson.dumps(
            {"model": "policy", "messages": self.messages, "max_tokens": OUTPUT_TOKENS}
        )

    def go_on(self, reply: dict[str, Any]) -> None:
        self.messages += [reply, {"role": "user", "content": next(self._words)}]


def observations(tokenizer: Tokenizer, place: int) -> list[str]:
    """The prompt and what is observed after each turn, from Python's own library; no two episodes start alike."""
    source = inspect.getsource(json.decoder) + inspect.getsource(tokenize)
    ids = tokenizer.encode(f"Task {place}. " + source * 8)
    cuts = [0, PROMPT_TOKENS]
    while len(cuts) <= NUM_TURNS + 1:
        cuts.append(cuts[-1] + OBSERVED_TOKENS)
    assert cuts[-1] <= len(ids)
    return [tokenizer.decode(ids[a:b]) for a, b in pairwise(cuts)]


async def measure(target: Target, tokenizer: Tokenizer) -> list[Figure]:
    talks = [Talk(f"growth-{i}", observations(tokenizer, i)) for i in range(NUM_EPISODES)]
    figures: list[Figure] = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{target.port}", timeout=30) as client:
        for turn in range(1, NUM_TURNS + 1):
            taken = [await take(target, talk, client) for talk in talks]
            figures.append(median(turn, taken, figures))
    return [figure for figure in figures if figure.turn in SHOWN_TURNS]


async def take(target: Target, talk: Talk, client: httpx.AsyncClient) -> tuple[float, int, int]:
    """One turn: CPU seconds of the gateway, tokens of the prompt, bytes of the body."""
    body = talk.body()
    headers = target.headers | {"x-turngate-episode": talk.name, "x-stainless-retry-count": "0"}
    before = target.cpu_seconds()
    answer = await client.post(target.path, headers=headers, content=body)
    cpu = target.cpu_seconds() - before
    completion = answer.raise_for_status().json()
    talk.go_on(completion["choices"][0]["message"])
    return cpu, completion["usage"]["prompt_tokens"], len(body)


def median(turn: int, taken: list[tuple[float, int, int]], earlier: list[Figure]) -> Figure:
    cpu_seconds, tokens, size = (statistics.median(column) for column in zip(*taken, strict=True))
    cpu_us = 1e6 * cpu_seconds
    second = earlier[1].cpu_us if turn > 2 else cpu_us
    return Figure(turn, int(tokens), int(size), cpu_us, cpu_us / second if turn > 1 else 1.0)


def run() -> list[Figure]:
    with stand(OUTPUT_TOKENS) as surroundings:
        tokenizer = Tokenizer.load(surroundings.directory)
        return asyncio.run(measure(surroundings.gateway, tokenizer))


def table(figures: list[Figure]) -> Table:
    rows = Table(title=f"Growth: CPU of a turn, median of {NUM_EPISODES} episodes, equal suffixes")
    for column in ("turn", "prompt tokens", "body bytes", "CPU us", "against turn 2"):
        rows.add_column(column, justify="right")
    for figure in figures:
        rows.add_row(
            f"{figure.turn}",
            f"{figure.prompt_tokens:,}",
            f"{figure.body_bytes:,}",
            f"{figure.cpu_us:,.0f}",
            f"{figure.against_turn_2:.2f}",
        )
    return rows
