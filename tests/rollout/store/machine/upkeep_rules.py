"""What time, the settler and damage do."""

from hypothesis import strategies as st
from hypothesis.stateful import rule
from redis.asyncio import Redis

from tests.rollout.store.machine.caller import Caller

waits = st.sampled_from([1, 3, 9, 10, 11, 21, 31, 60, 61, 101, 151])


class UpkeepRules(Caller):
    """Deadlines, the ledger's outbox, and records that are derived again."""

    @rule(seconds=waits, sweep=st.booleans())
    def let_time_pass(self, seconds: int, sweep: bool) -> None:
        self.clock.advance(seconds)
        self.model.now = self.clock.now
        if sweep:
            expected = self.model.sweep()
            assert self.change(lambda store: store.sweep()) == expected

    @rule()
    def drain(self) -> None:
        expected = self.model.drain()
        settled = self.do(lambda store: store.settled(limit=1000))
        told = {
            e.header.id: (e.header.disposition or "requeued", e.reward, e.header.num_rewards)
            for e in settled
        }
        assert told == expected
        self.change(lambda store: store.settle_done(settled))

    @rule(entries=st.sampled_from([1, 5, 200]))
    def repair(self, entries: int) -> None:
        """Deriving everything again changes nothing that is right."""
        assert self.change(lambda store: store.repair(slice_entries=entries)) == 0

    @rule(entries=st.integers(1, 8))
    def repair_a_slice(self, entries: int) -> None:
        """Every other rule may come between two slices."""
        self.change(lambda store: store.repair_slice(entries))

    @rule(name=st.sampled_from(["totals", "forgotten", "holders", "turns", "episodes", "policy"]))
    def damage(self, name: str) -> None:
        """What is lost of these records is derived from the others, exactly."""
        key = f"turngate:{{{self.project}}}:{name}"
        for command in (("DEL", key), ("SET", key, "garbage")):
            self.runner.run(self.raw(*command))
        assert self.do(lambda store: store.repair()) == 1

    async def raw(self, *command: str) -> None:
        async with Redis.from_url(self.redis_url) as client:
            await client.execute_command(*command)
