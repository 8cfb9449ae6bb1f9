"""What Prometheus reads: counters this process keeps, and a snapshot of the store and the pool taken per scrape.

Each gateway owns its registry and its own listener; nothing is module-level.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rollout.episode.turn import Turn
from rollout.store.totals import Totals

_LATENCIES = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
LOOPS = (
    "settler",
    "engines",
    "keys",
    "leases",
    "settlements",
)  # what a gateway does between requests
ORPHANS = ("abandoned", "side")  # why an output will not train


@dataclass(frozen=True, slots=True)
class EngineReading:
    name: str
    is_up: bool
    num_inflight: int
    policy_version: int | None


@dataclass(frozen=True, slots=True)
class EvaluationReading:
    """What a policy earned on held-out episodes."""

    version: int
    mean_reward: float
    episodes: int
    is_best: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of the store, the pool and the ledger as last read; `totals` is None if the store did not answer."""

    engines: tuple[EngineReading, ...] = ()
    policy_version: int | None = None
    totals: Totals | None = None
    evaluations: tuple[EvaluationReading, ...] = ()  # of the policies on disk
    num_workers: int = 1  # processes of this gateway that take calls
    worker_restarts: int = 0
    history_bytes: int = 0


class Metrics:
    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self._registry = CollectorRegistry()
        self._registry.register(_SnapshotCollector(self))
        self._own: list[Collector] = []
        self._requests = self._counter("requests", "Answers given", "route", "status")
        self._request_seconds = self._histogram(
            "request_seconds", "From first byte to last", "route"
        )
        self.first_token_seconds = self._histogram("first_token_seconds", "Until the first token")
        self.turns = self._counter("turns", "Turns committed", "kind")
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens in prompts")
        self.cached_tokens = self._counter("cached_tokens", "Prompt tokens found in a prefix cache")
        self.output_tokens = self._counter("output_tokens", "Tokens sampled")
        self.calls_attached = self._counter(
            "calls_attached", "Calls by how they were attached to their trie", "how"
        )
        self.breaks = self._counter(
            "breaks", "Calls that continue no output of their episode", "class", "client"
        )
        self.history_turns_read = self._counter(
            "history_turns_read", "Turns read from Redis, because this gateway did not know them"
        )
        self._orphaned_spans = self._counter(
            "orphaned_spans", "Outputs that no training sequence contains", "reason"
        )
        self._orphaned_tokens = self._counter(
            "orphaned_tokens", "Tokens of orphaned spans", "reason"
        )
        self._loop_failures = self._counter(
            "loop_failures", "Failures of what runs between requests; it starts again", "loop"
        )
        for loop in LOOPS:
            self._loop_failures.labels(loop)
        for reason in ORPHANS:
            self._orphaned_spans.labels(reason)
            self._orphaned_tokens.labels(reason)

        # Looking a child up by its labels costs more than counting.
        self._answers_of = cache(self._requests.labels)
        self._seconds_of = cache(self._request_seconds.labels)
        self._turns_of = cache(self.turns.labels)
        self._attached_of = cache(self.calls_attached.labels)

    def count_loop_failure(self, loop: str) -> None:
        self._loop_failures.labels(loop).inc()

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        self._answers_of(route, status).inc()
        self._seconds_of(route).observe(seconds)

    def observe_attachment(self, how: str, break_class: str | None, client: str) -> None:
        self._attached_of(how).inc()
        if break_class is not None:
            self.breaks.labels(break_class, client).inc()

    def observe_turn(self, kind: str, *, prompt: int, cached: int, output: int) -> None:
        """Count a committed turn and its tokens."""
        self._turns_of(kind).inc()
        self.prompt_tokens.inc(prompt)
        if cached:
            self.cached_tokens.inc(cached)
        self.output_tokens.inc(output)

    def observe_record(self, turn: Turn) -> None:
        """Count the outputs of a recorded turn that will never train."""
        for output in turn.outputs:
            reason = "abandoned" if output.is_abandoned else turn.kind
            if output.num_tokens and reason in ORPHANS:
                self._orphaned_spans.labels(reason).inc()
                self._orphaned_tokens.labels(reason).inc(output.num_tokens)

    def exposition(self) -> bytes:
        return generate_latest(self._registry)

    def counted(self) -> Iterator[Metric]:
        """What this process counts itself: everything but the snapshot."""
        for metric in self._own:
            yield from metric.collect()

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        counter = Counter(f"turngate_{name}_total", meaning, labels, registry=self._registry)
        self._own.append(counter)
        return counter

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        histogram = Histogram(
            f"turngate_{name}", meaning, labels, registry=self._registry, buckets=_LATENCIES
        )
        self._own.append(histogram)
        return histogram


def state_families(snapshot: Snapshot) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "turngate_workers", "Processes of this gateway that take calls", snapshot.num_workers
    )
    yield CounterMetricFamily(
        "turngate_worker_restarts",
        "Workers that ended by themselves and were started again",
        snapshot.worker_restarts,
    )
    yield from _store_families(snapshot.totals)
    yield from _pool_families(snapshot)
    yield from _evaluation_families(snapshot.evaluations)
    yield GaugeMetricFamily(
        "turngate_history_bytes", "Memory of what is remembered of episodes", snapshot.history_bytes
    )


class _SnapshotCollector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return state_families(self._metrics.snapshot)

    def describe(self) -> Iterable[Metric]:
        return ()


def _store_families(totals: Totals | None) -> Iterable[Metric]:
    is_up = totals is not None
    yield GaugeMetricFamily("turngate_store_up", "1 if Redis answers", float(is_up))
    if totals is None:
        return
    yield CounterMetricFamily("turngate_episodes_opened", "Episodes opened", totals.opened)
    yield _labeled(CounterMetricFamily, "episodes", "disposition", totals.dispositions)
    live = {status.value: count for status, count in totals.live.items()}
    yield _labeled(GaugeMetricFamily, "episodes_live", "status", live)
    # A sum of rewards can fall, so it is a gauge, although its name ends like a counter's.
    yield GaugeMetricFamily(
        "turngate_episode_reward_sum_total", "Sum of settled rewards", totals.reward_sum
    )
    yield CounterMetricFamily(
        "turngate_episode_reward_count", "Episodes in that sum", totals.reward_count
    )
    yield _labeled(CounterMetricFamily, "settled_tokens", "disposition", totals.settled_tokens)
    yield CounterMetricFamily(
        "turngate_delivered_tokens", "Settled tokens that were trained", totals.delivered_tokens
    )
    yield CounterMetricFamily(
        "turngate_damaged_records",
        "Records in Redis that could not be read and were moved aside",
        totals.damaged_records,
    )
    yield _labeled(GaugeMetricFamily, "backlog_groups", "state", totals.groups)
    yield from _admission_families(totals)


def _admission_families(totals: Totals) -> Iterable[Metric]:
    places = totals.places
    yield GaugeMetricFamily(
        "turngate_admission_limit_episodes", "Places of admission, 0 without a limit", places.limit
    )
    held = {
        "all": totals.reserved_episodes,
        "trainer": places.claimed,
        "largest_key": max(places.by_key.values(), default=0),
    }
    yield _labeled(GaugeMetricFamily, "reserved_episodes", "holder", held)


def _pool_families(snapshot: Snapshot) -> Iterable[Metric]:
    engines = snapshot.engines
    yield _labeled(
        GaugeMetricFamily, "engine_up", "engine", {e.name: float(e.is_up) for e in engines}
    )
    yield _labeled(
        GaugeMetricFamily, "engine_inflight", "engine", {e.name: e.num_inflight for e in engines}
    )
    yield _labeled(
        GaugeMetricFamily,
        "engine_policy_version",
        "engine",
        {e.name: e.policy_version for e in engines if e.policy_version is not None},
    )
    if snapshot.policy_version is not None:
        yield GaugeMetricFamily(
            "turngate_policy_version", "The recorded policy", snapshot.policy_version
        )


def _evaluation_families(evaluations: Iterable[EvaluationReading]) -> Iterable[Metric]:
    rewards = {str(each.version): each.mean_reward for each in evaluations}
    episodes = {str(each.version): each.episodes for each in evaluations}
    yield _labeled(GaugeMetricFamily, "evaluation_reward_mean", "version", rewards)
    yield _labeled(GaugeMetricFamily, "evaluation_episodes", "version", episodes)
    for each in evaluations:
        if each.is_best:
            yield GaugeMetricFamily(
                "turngate_best_policy_version", "Best on held-out episodes", each.version
            )


def _labeled(
    family: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    label: str,
    values: Mapping[str, float],
) -> Metric:
    metric = family(f"turngate_{name}", name.replace("_", " "), labels=[label])
    for key, value in values.items():
        metric.add_metric([key], float(value))
    return metric
