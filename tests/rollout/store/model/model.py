"""A model of the store in plain Python: one process, no Redis, no concern for speed. Times are seconds on the test's clock."""

from collections import Counter

from tests.rollout.store.model.episodes import Episodes
from tests.rollout.store.model.groups import Groups
from tests.rollout.store.model.records import (
    TERMINAL,
)


class Model(Episodes, Groups):
    """The whole store: agents, trainers, and what time does."""

    def sweep(self) -> float | None:
        for episode in [e for e in self.episodes.values() if (e.forget_at or 1e99) <= self.now]:
            self._forget(episode)
        idle = [e for e in self.episodes.values() if e.is_waiting and e.idle_at <= self.now]
        for episode in sorted(idle, key=lambda e: (e.idle_at, e.id)):
            self._give_up(episode)
        for group in self._in("open"):
            if group.deadline is not None and group.deadline <= self.now:
                self._close(group)
        self._silence()
        for group in self._in("ready"):
            if group.is_late and group.ready_at + self.timings.idle <= self.now:
                self._discard_group(group, "stale")
        self._reclaim()
        due = [e.forget_at for e in self.episodes.values() if e.forget_at is not None]
        due += [e.idle_at for e in self.episodes.values() if e.is_waiting]
        due += [g.deadline for g in self._in("open") if g.deadline is not None]
        due += [g.lease for g in self._in("claimed")]
        due += [e.quiet_at for e in self.episodes.values() if e.quiet_at is not None]
        due += [g.ahead_until for g in self.groups.values() if g.ahead]
        due += [g.ready_at + self.timings.idle for g in self._in("ready") if g.is_late]
        return min(due, default=None)

    def drain(self) -> dict[str, tuple[str, float, int]]:
        """The ledger's row of each episode: its disposition, its reward and its number of rewards."""
        told = {
            e.id: (e.disposition or "requeued", sum(e.rewards.values()), len(e.rewards))
            for e in self.episodes.values()
            if e.in_outbox
        }
        for name in told:
            self.episodes[name].in_outbox = False
        return told

    def live(self) -> Counter[str]:
        return Counter(e.status for e in self.episodes.values() if e.status not in TERMINAL)
