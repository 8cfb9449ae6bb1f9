"""The one answer of several workers to a scrape."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.metrics import EngineReading, Snapshot, state_families
from gateway.workers.families import Family


class _Exposed(Collector):
    def __init__(self, counted: Sequence[Family], snapshot: Snapshot) -> None:
        self._counted = counted
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        yield from state_families(self._snapshot)
        yield from (family.metric for family in self._counted)


def exposition(counted: Sequence[Family], snapshot: Snapshot) -> str:
    return generate_latest(_Exposed(counted, snapshot)).decode()


def joined(snapshots: Sequence[Snapshot], *, num_workers: int, worker_restarts: int) -> Snapshot:
    """The state as all see it: a store is up if it answers each, and an engine if it answers any."""
    versions = [s.policy_version for s in snapshots if s.policy_version is not None]
    is_up = all(snapshot.totals is not None for snapshot in snapshots)
    latest = snapshots[-1] if snapshots else Snapshot()
    return Snapshot(
        engines=tuple(_engines(snapshots)),
        policy_version=max(versions, default=None),
        totals=latest.totals if is_up else None,
        evaluations=next((s.evaluations for s in snapshots if s.evaluations), ()),
        num_workers=num_workers,
        worker_restarts=worker_restarts,
        history_bytes=sum(snapshot.history_bytes for snapshot in snapshots),
    )


def _engines(snapshots: Iterable[Snapshot]) -> Iterator[EngineReading]:
    readings: dict[str, list[EngineReading]] = {}
    for engine in (engine for snapshot in snapshots for engine in snapshot.engines):
        readings.setdefault(engine.name, []).append(engine)
    for name, engines in readings.items():
        versions = [each.policy_version for each in engines if each.policy_version is not None]
        yield EngineReading(
            name,
            is_up=any(each.is_up for each in engines),
            num_inflight=sum(each.num_inflight for each in engines),
            policy_version=max(versions, default=None),
        )
