"""The store under test beside its model, and how a rule calls both."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from rollout.errors import StoreError
from rollout.store.sharded.sharded_store import open_store
from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.rollout.clock import Clock
from tests.rollout.store.model.model import Model

T = TypeVar("T")
Call: TypeAlias = Callable[[Store], Awaitable[T]]
TIMINGS = Timings(idle=100, grace=10, retention=150, reward_deadline=60, silence=20)
LIMIT, SHARE = 14, 9

picks = st.integers(0, 5)  # which of the episodes there are, counted from the newest
owners = st.sampled_from(["ann", "bob"])
versions = st.integers(0, 6)


class Caller(RuleBasedStateMachine):
    """Applies each transition to the store and to the model."""

    num_shards = 1
    limit, share = LIMIT, SHARE

    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self.redis_url = redis_url
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.project = uuid.uuid4().hex
        self.store = self.connect()
        self.model = Model(TIMINGS, self.limit, self.share)
        self.model.now = self.clock.now
        self.claimed: dict[str, list[str]] = {"ann": [], "bob": []}
        self.version = 10
        self.num_opened = 0
        self.num_calls = 0
        self.num_lost = 0  # answers
        limits = {"max_live_episodes": self.limit, "max_live_episodes_per_key": self.share}
        self.do(lambda store: store.prepare())
        self.do(lambda store: store.set_training(limits))

    def connect(self) -> Store:
        return open_store(
            self.redis_url,
            project=self.project,
            timings=TIMINGS,
            clock=self.clock,
            num_shards=self.num_shards,
        )

    def hash_tags(self) -> list[str]:
        """One for each shard."""
        return [self.project, *(f"{self.project}:{n}" for n in range(1, self.num_shards))]

    def do(self, call: Call[T]) -> T | type[StoreError]:
        async def answer() -> T | type[StoreError]:
            try:
                return await call(self.store)
            except StoreError as error:
                return type(error)

        return self.runner.run(answer())

    def change(self, call: Call[T]) -> T | type[StoreError]:
        """A call that is repeated if its answer is lost. Returns the answer to the last try."""
        return self.do(call)

    def crash_in_next(self, seconds: float) -> bool:
        """Whether Redis is killed so many seconds into the next change, and forgets what it keeps in memory only."""
        return False

    def agree(self, call: Call[object], expected: type[StoreError] | None) -> None:
        answer = self.change(call)
        assert (answer if isinstance(answer, type) else None) is expected

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()

    def new(self) -> str:
        self.num_opened += 1
        return f"ep_{self.num_opened:04}"

    def new_call(self) -> str:
        self.num_calls += 1
        return f"call {self.num_calls}"

    def pick(self, pick: int) -> str:
        """An episode that exists, or sometimes one that does not."""
        known = sorted(self.model.episodes)[::-1]
        return known[pick] if pick < len(known) else "ep_none"
