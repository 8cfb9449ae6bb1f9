"""Redis is killed between any two calls, or while one is under way, and everybody else forgets everything.

A call whose answer was lost is repeated, as a client, a gateway or a trainer does that was started again.
"""

import asyncio
from contextlib import suppress
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from redis.asyncio import Redis

from rollout.errors import StoreError
from tests.redis_server import KillableRedis
from tests.rollout.store.machine.caller import Call, Caller

T = TypeVar("T")


class Crashes(Caller):
    """Loses answers, and the memory of all processes."""

    def __init__(self, server: KillableRedis) -> None:
        self.server = server
        self.kill_after: float | None = None
        super().__init__(server.url)

    @rule()
    def crash(self) -> None:
        """Between two calls."""
        self.server.kill()
        self.start_again()
        self.runner.run(self.remember())

    @rule(seconds=st.sampled_from([0.0, 0.0005, 0.002, 0.02]))
    def lose_the_next_answer(self, seconds: float) -> None:
        """The next change was made, was not, or is under way when Redis dies."""
        self.kill_after = seconds

    def change(self, call: Call[T]) -> T | type[StoreError]:
        if self.kill_after is not None:
            self.num_lost += 1
            self.runner.run(self.lose(call, self.kill_after))
            self.kill_after = None
            self.start_again()
            answer = self.do(call)
            self.runner.run(self.remember())
            return answer
        return self.do(call)

    def crash_in_next(self, seconds: float) -> bool:
        self.kill_after = seconds
        return True

    async def lose(self, call: Call[object], seconds: float) -> None:
        under_way = asyncio.ensure_future(call(self.store))
        await asyncio.sleep(seconds)
        self.server.kill()
        with suppress(StoreError):
            await under_way

    def start_again(self) -> None:
        self.runner.run(self.store.close())
        self.server.start()
        self.store = self.connect()
        self.claimed = {"ann": [], "bob": []}

    async def remember(self) -> None:
        """Which turns the model has in progress follows Redis, which may have forgotten some that were in memory only."""
        async with Redis.from_url(self.redis_url) as client:
            for episode in self.model.episodes.values():
                names = [f"turngate:{{{tag}}}:ep:{episode.id}" for tag in self.hash_tags()]
                (found,) = [n for name in names if (n := await client.hget(name, "begun"))]
                num_begun = int(found)
                assert episode.least_begun <= num_begun <= episode.num_begun
                episode.num_begun = num_begun

    @invariant()
    def rewards_are_recorded_once(self) -> None:
        for episode in self.model.episodes.values():
            log = self.do(lambda store, id_=episode.id: store.reward_history(id_))
            assert len(log) == episode.num_recorded
