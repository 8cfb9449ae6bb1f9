"""What the ledger says of the training, and another process that keeps the ledger from everybody."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass

import asyncpg

from rollout.errors import LedgerUnavailable
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import TrainedEpisode

PROJECT = "default"
LOOK_SECONDS = 1.0
PAGE = 1000
LOCK = "LOCK TABLE policies, training_steps, episodes, trained_episodes IN ACCESS EXCLUSIVE MODE"


@dataclass(frozen=True, slots=True)
class Step:
    version: int
    seen: float  # by this process's clock: the others' may jump
    kept: bool


class History:
    """The ledger of a running service."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen: dict[int, float] = {}

    async def follow(self) -> None:
        """Note when each step appears, until cancelled."""
        ledger = await Ledger.open(self._url)
        try:
            while True:
                with suppress(LedgerUnavailable):
                    for step in await ledger.training_steps(PROJECT, limit=50):
                        self._seen.setdefault(step.version, time.time())
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            await ledger.close()

    async def steps(self) -> list[Step]:
        ledger = await Ledger.open(self._url)
        try:
            steps = await ledger.training_steps(PROJECT, limit=100_000)
        finally:
            await ledger.close()
        return [
            Step(s.version, self._seen.get(s.version, s.created), not s.abandoned) for s in steps
        ]

    async def trained_twice(self) -> list[str]:
        """Episodes that are more than once in the lineage that is served."""
        ledger = await Ledger.open(self._url)
        try:
            left = {p.version for p in await ledger.lineages(PROJECT) if p.abandoned}
            counts: Counter[tuple[str, int]] = Counter()
            last: TrainedEpisode | None = None
            while page := await ledger.trained_episodes(PROJECT, after=last, limit=PAGE):
                counts.update((e.episode_id, e.created_ms) for e in page if e.version not in left)
                last = page[-1]
        finally:
            await ledger.close()
        return [f"{episode}: {n} times" for (episode, _), n in counts.items() if n > 1]


@asynccontextmanager
async def ledger_held(url: str) -> AsyncIterator[None]:
    """Nobody else can write while the block runs; in PostgreSQL nobody can read."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.partition("///")[2], timeout=5)) as ledger:
            with suppress(sqlite3.OperationalError):
                ledger.execute("BEGIN EXCLUSIVE")
            yield
            ledger.rollback()
        return
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(LOCK)
            yield
    finally:
        await connection.close()
