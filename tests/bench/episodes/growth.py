"""What a turn costs the gateway as its episode grows: with equal suffixes, turn 100 beside turn 2.

Each turn sends the whole conversation again, as every chat client does, so reading the body and handing the prompt's ids
to the engine cannot but grow; everything else must cost what the new suffix costs.
"""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import orjson
from rich.table import Table

from rollout.tokenizer.tokenizer import Tokenizer
from tests.bench.observations import observations
from tests.bench.stand import Target, stand

NUM_TURNS, PROMPT_TOKENS, OUTPUT_TOKENS, OBSERVED_TOKENS = 100, 8_000, 200, 500
NUM_EPISODES = 12
SHOWN_TURNS = (1, 2, 10, 25, 50, NUM_TURNS)


@dataclass(frozen=True, slots=True)
class Figure:
    """The median turn of this number, over all episodes."""

    turn: int
    prompt_tokens: int
    body_bytes: int
    cpu_us: float
    bytes_per_token: float  # of the gateway's growth since the first turn, over all open episodes


class Taken(NamedTuple):
    cpu_us: float
    prompt_tokens: int
    body_bytes: int


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
        """One user has spoken, at the start: what follows a reply is what a tool answered."""
        answer = {"role": "tool", "tool_call_id": "call_1", "content": next(self._words)}
        self.messages += [reply, answer]


def words(tokenizer: Tokenizer, place: int) -> list[str]:
    """What an agent is told and observes; no two of a round start alike."""
    start = f"Task {place}. "
    return observations(tokenizer, NUM_TURNS, PROMPT_TOKENS, OBSERVED_TOKENS, start=start)


async def measure(target: Target, tokenizer: Tokenizer) -> list[Figure]:
    """Bring episodes to every shown turn, then take those turns in rounds, so that all see the same machine."""
    rounds = [
        [Talk(f"growth-{place}-{turn}", words(tokenizer, place)) for turn in SHOWN_TURNS]
        for place in range(NUM_EPISODES)
    ]
    before = target.resident_bytes()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{target.port}", timeout=30) as client:
        for talks in rounds:
            for talk, turn in zip(talks, SHOWN_TURNS, strict=True):
                for _ in range(turn - 1):
                    await take(target, talk, client)
        taken = [[await take(target, talk, client) for talk in talks] for talks in rounds]
    columns = zip(*taken, strict=True)
    tokens = sum(each.prompt_tokens + OUTPUT_TOKENS for row in taken for each in row)
    kept = (target.resident_bytes() - before) / tokens
    return [median(turn, column, kept) for turn, column in zip(SHOWN_TURNS, columns, strict=True)]


async def take(target: Target, talk: Talk, client: httpx.AsyncClient) -> Taken:
    """One turn, and what it cost."""
    body = talk.body()
    headers = target.headers | {"x-turngate-episode": talk.name, "x-stainless-retry-count": "0"}
    before = target.cpu_seconds()
    answer = await client.post(target.path, headers=headers, content=body)
    cpu_us = 1e6 * (target.cpu_seconds() - before)
    completion = answer.raise_for_status().json()
    talk.go_on(completion["choices"][0]["message"])
    return Taken(cpu_us, completion["usage"]["prompt_tokens"], len(body))


def median(turn: int, taken: Sequence[Taken], kept: float) -> Figure:
    cpu_us, tokens, size = (statistics.median(column) for column in zip(*taken, strict=True))
    return Figure(turn, round(tokens), round(size), cpu_us, kept)


def ratio(figures: list[Figure]) -> float:
    """Turn 100 against turn 2."""
    by_turn = {figure.turn: figure.cpu_us for figure in figures}
    return by_turn[NUM_TURNS] / by_turn[2]


def run() -> list[Figure]:
    with stand(OUTPUT_TOKENS) as surroundings:
        tokenizer = Tokenizer.load(surroundings.directory)
        return asyncio.run(measure(surroundings.gateway, tokenizer))


def table(figures: list[Figure]) -> Table:
    title = f"Growth: CPU of a turn with equal suffixes; turn 100 is {ratio(figures):.2f} x turn 2"
    kept = f"{figures[0].bytes_per_token:.1f} bytes of memory per token of an open episode"
    rows = Table(title=title, caption=f"median of {NUM_EPISODES} episodes, one caller; {kept}")
    for column in ("turn", "prompt tokens", "body bytes", "CPU us"):
        rows.add_column(column, justify="right")
    for figure in figures:
        rows.add_row(
            f"{figure.turn}",
            f"{figure.prompt_tokens:,}",
            f"{figure.body_bytes:,}",
            f"{figure.cpu_us:,.0f}",
        )
    return rows
