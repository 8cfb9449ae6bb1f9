"""Agents, engines and a trainer as discrete events: the throughput of a staleness limit, before a cluster is rented.

The rules are those of the gateway and the trainer: a group is admitted as a whole while fewer than `(max_staleness + 1) x batch` episodes are live,
groups are claimed oldest first and discarded if a token is too old, a swap pauses the engines. Staleness 0 is synchronous: nothing
is admitted from the claim of a batch until its policy is served.
"""

import math
import random
import statistics
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field

import simpy

Process = Generator[simpy.Event, object, None]


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Positive numbers with this median; `sigma` is the deviation of their logarithm, 0 for none."""

    median: float
    sigma: float = 0.0

    @property
    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)

    def draw(self, source: random.Random) -> float:
        return self.median * math.exp(self.sigma * source.gauss()) if self.sigma else self.median


@dataclass(frozen=True, slots=True)
class Workload:
    """The simulated load. Times are seconds."""

    turns: LogNormal = LogNormal(4)  # per episode, rounded, at least one
    turn_seconds: LogNormal = LogNormal(1.0)  # an engine samples
    tool_seconds: LogNormal = LogNormal(1.0)  # after each turn, no engine is used
    engine_slots: int = 64  # turns that all engines sample at once
    concurrent_groups: int = 0  # groups that agents play at once; 0: all that are admitted
    group_size: int = 8
    groups_per_batch: int = 8
    step_seconds: float = 2.0  # the trainer, from a whole batch to a written policy
    swap_seconds: float = 0.1  # engines are paused

    @property
    def batch(self) -> int:
        return self.groups_per_batch * self.group_size


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result, after a warm-up of a tenth of the steps."""

    max_staleness: int
    episodes_per_second: float
    staleness_mean: float  # of trained groups: training version minus their oldest version
    staleness_max: int
    discarded_fraction: float  # stale groups, of all that ended
    trainer_busy: float
    engines_busy: float


def simulate(workload: Workload, *, max_staleness: int, steps: int, seed: int = 0) -> Outcome:
    """Run until the trainer has taken `steps` steps. The same seed gives the same outcome."""
    system = _System(workload, max_staleness, steps, random.Random(seed))  # noqa: S311 - no secret
    system.run()
    return system.outcome()


@dataclass(frozen=True, slots=True)
class _Group:
    oldest_version: int


@dataclass(slots=True)
class _Tally:
    """Counts since the end of the warm-up."""

    since: float = 0.0
    staleness: list[int] = field(default_factory=list)
    num_discarded: int = 0
    training_seconds: float = 0.0
    sampling_seconds: float = 0.0


class _System:
    def __init__(
        self, workload: Workload, max_staleness: int, steps: int, source: random.Random
    ) -> None:
        self._work, self._max_staleness, self._steps = workload, max_staleness, steps
        self._source = source
        self._env = simpy.Environment()
        self._slots = simpy.Resource(self._env, workload.engine_slots)
        self._ready: deque[_Group] = deque()
        self._changed = self._env.event()  # fires at every change that a process may wait for
        self._served_version = 0
        self._live = 0  # episodes admitted and neither trained nor discarded
        self._admits = True
        self._are_engines_paused = False
        self._tally = _Tally()

    def run(self) -> None:
        work = self._work
        admitted = (self._max_staleness + 1) * work.groups_per_batch
        for _ in range(work.concurrent_groups or admitted):
            self._env.process(self._play_groups())
        self._env.run(self._env.process(self._train()))

    def outcome(self) -> Outcome:
        tally, seconds = self._tally, self._env.now - self._tally.since
        ended = len(tally.staleness) + tally.num_discarded
        return Outcome(
            max_staleness=self._max_staleness,
            episodes_per_second=len(tally.staleness) * self._work.group_size / seconds,
            staleness_mean=statistics.fmean(tally.staleness),
            staleness_max=max(tally.staleness),
            discarded_fraction=tally.num_discarded / ended,
            trainer_busy=tally.training_seconds / seconds,
            engines_busy=tally.sampling_seconds / (seconds * self._work.engine_slots),
        )

    def _play_groups(self) -> Process:
        """One harness: one group after another, the members of a group at once."""
        size = self._work.group_size
        while True:
            while not self._has_room():
                yield self._changed
            self._live += size
            oldest: list[int] = []
            yield self._env.all_of(
                [self._env.process(self._play_episode(oldest)) for _ in range(size)]
            )
            self._ready.append(_Group(min(oldest)))
            self._announce()

    def _has_room(self) -> bool:
        limit = (self._max_staleness + 1) * self._work.batch
        return self._admits and self._live + self._work.group_size <= limit

    def _play_episode(self, oldest: list[int]) -> Process:
        """Turns and tools; appends the version that sampled the first token."""
        work = self._work
        for turn in range(max(1, round(work.turns.draw(self._source)))):
            with self._slots.request() as slot:
                yield slot
                while self._are_engines_paused:
                    yield self._changed
                if turn == 0:
                    oldest.append(self._served_version)
                seconds = work.turn_seconds.draw(self._source)
                yield self._env.timeout(seconds)
            self._tally.sampling_seconds += seconds
            yield self._env.timeout(work.tool_seconds.draw(self._source))

    def _train(self) -> Process:
        """Claim a batch, step, swap; repeat."""
        for step in range(self._steps):
            if step == self._steps // 10:
                self._tally = _Tally(since=self._env.now)
            yield from self._claim(step)
            self._admits = self._max_staleness > 0
            yield self._env.timeout(self._work.step_seconds)
            self._tally.training_seconds += self._work.step_seconds
            self._live -= self._work.batch
            yield from self._swap(step + 1)

    def _claim(self, version: int) -> Process:
        held = 0
        while held < self._work.groups_per_batch:
            while not self._ready:
                yield self._changed
            staleness = version - self._ready.popleft().oldest_version
            if staleness <= self._max_staleness:
                self._tally.staleness.append(staleness)
                held += 1
            else:
                self._tally.num_discarded += 1
                self._live -= self._work.group_size
                self._announce()

    def _swap(self, version: int) -> Process:
        self._are_engines_paused = True
        self._announce()
        yield self._env.timeout(self._work.swap_seconds)
        self._served_version, self._are_engines_paused, self._admits = version, False, True
        self._announce()

    def _announce(self) -> None:
        """Wake every process that waits for a change."""
        changed, self._changed = self._changed, self._env.event()
        changed.succeed()
