"""How much of the prefix that two turns share the real SGLang finds in its cache.

Reusable is what the turn before read and sampled, without its last token, whose keys no engine has computed.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from deploy.demo.starter.starter import create_untrained
from tests.engines import start_engine
from tests.fidelity.agent import PRICE, saying
from tests.gateways import Gateway, running_gateway
from tests.redis_server import running_redis

NUM_TURNS = 12
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'


@dataclass(frozen=True, slots=True)
class Figure:
    turn: int
    reusable_tokens: int
    cached_tokens: int

    @property
    def ratio(self) -> float:
        return self.cached_tokens / self.reusable_tokens


async def measure(served: Gateway, num_turns: int = NUM_TURNS) -> list[Figure]:
    """An agent that calls a tool in every other turn and says what it likes in the rest."""
    messages: list[Any] = [{"role": "user", "content": "What does a melon cost?"}]
    figures, known = [], 0
    async with served.openai(path="/e/cached/v1") as client:
        for turn in range(1, num_turns + 1):
            said = saying(CALL) if turn % 2 else {}
            completion = await client.chat.completions.create(
                model="policy", messages=messages, tools=[PRICE], max_tokens=80, extra_body=said
            )
            usage, answer = completion.usage, completion.choices[0].message
            assert usage is not None
            assert usage.prompt_tokens_details is not None
            cached = usage.prompt_tokens_details.cached_tokens or 0
            if known:
                figures.append(Figure(turn, known - 1, cached))
            known = usage.total_tokens
            messages += [answer.model_dump(exclude_none=True), *_next(answer.tool_calls)]
    return figures


def _next(calls: Sequence[Any] | None) -> list[dict[str, Any]]:
    """The results of its calls, or the user again."""
    results = [{"role": "tool", "tool_call_id": c.id, "content": "33 euros"} for c in calls or ()]
    return results or [{"role": "user", "content": "And two of them?"}]


async def _on_own_stack(directory: Path, engine: str, redis_url: str) -> list[Figure]:
    async with running_gateway(
        redis_url=redis_url,
        database_url=f"sqlite:///{directory / 'ledger.db'}",
        weights_dir=directory / "weights",
        model_dir=directory / "model",
        engines=(engine,),
    ) as served:
        return await measure(served)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="tg-bench-") as name, running_redis(Path(name)) as url:
        directory = Path(name)
        (directory / "model").mkdir()
        create_untrained(directory / "model", seed=0)
        with start_engine(directory / "model") as engine:
            return asyncio.run(_on_own_stack(directory, engine, url))


def table(figures: Sequence[Figure]) -> Table:
    least = min(figure.ratio for figure in figures)
    rows = Table(title=f"Prefix cache of the real SGLang: at least {least:.1%} of what is reusable")
    for column in ("turn", "reusable tokens", "cached tokens", "found"):
        rows.add_column(column, justify="right")
    for figure in figures:
        found = f"{figure.ratio:.1%}"
        rows.add_row(
            f"{figure.turn}", f"{figure.reusable_tokens}", f"{figure.cached_tokens}", found
        )
    return rows
