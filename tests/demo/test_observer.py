"""The observer against real metrics: swaps one by one, waiting on versions, a process that is away."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram, start_http_server

from deploy.demo.alongside import alongside
from deploy.demo.observer import Observer


class Metrics:
    """What a gateway and a trainer would export, as far as the observer waits on it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.version = Gauge("turngate_policy_version", "v", registry=self.registry)
        self.live = Gauge("turngate_episodes_live", "l", ["status"], registry=self.registry)
        self.gaps = Histogram(
            "turngate_swap_gap_seconds", "g", ["engine"], registry=self.registry, buckets=(1, 10)
        )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def url(metrics: Metrics) -> Iterator[str]:
    server, thread = start_http_server(0, addr="127.0.0.1", registry=metrics.registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()


async def test_each_swap_is_seen_with_its_own_gap(metrics: Metrics, url: str) -> None:
    """The gaps are those observed, though the histogram's buckets are too wide to tell them apart."""
    observer = Observer([url])
    async with alongside(observer.watch()):
        for version, gap in enumerate([0.04, 0.25, 0.03], start=1):
            metrics.gaps.labels("engine-0").observe(gap)
            metrics.version.set(version)
            await observer.until(lambda seen, v=version: seen.policy_version == v, stalled=10)

    assert observer.gaps == pytest.approx([0.04, 0.25, 0.03])


async def test_live_episodes_are_counted_by_status(metrics: Metrics, url: str) -> None:
    """Claimed episodes are counted apart, and all statuses together."""
    metrics.live.labels("claimed").set(3)
    metrics.live.labels("open").set(4)
    observer = Observer([url])
    async with alongside(observer.watch()):
        await observer.until(lambda seen: seen.live_episodes > 0, stalled=10)

    assert (observer.latest.claimed_episodes, observer.latest.live_episodes) == (3, 7)


async def test_standstill_is_noticed(url: str) -> None:
    """Waiting for a version that never comes ends in a TimeoutError."""
    observer = Observer([url])
    async with alongside(observer.watch()):
        with pytest.raises(TimeoutError):
            await observer.until(lambda seen: seen.policy_version == 1, stalled=0.6)


async def test_process_that_is_away_is_looked_for_again(metrics: Metrics, url: str) -> None:
    """While one of the processes does not answer the last look stays, and the wait still ends."""
    metrics.version.set(5)
    observer = Observer([url, "http://127.0.0.1:9/metrics"])
    async with alongside(observer.watch()):
        with pytest.raises(TimeoutError):
            await observer.until(lambda seen: seen.policy_version == 5, stalled=0.6)

    assert observer.latest.samples == ()


async def test_training_stands_still_once_engines_serve_what_was_recorded(
    metrics: Metrics, url: str
) -> None:
    """A claimed batch may still become a policy, and a recorded one has yet to reach the engines."""
    engine = Gauge("turngate_engine_policy_version", "e", ["engine"], registry=metrics.registry)
    metrics.live.labels("claimed").set(64)
    metrics.version.set(6)
    engine.labels("engine-0").set(6)
    observer = Observer([url])
    async with alongside(observer.watch()):
        await observer.until(lambda seen: seen.policy_version == 6, stalled=10)
        assert not observer.latest.is_still
        metrics.live.labels("claimed").set(0)
        metrics.version.set(7)
        await observer.until(lambda seen: seen.policy_version == 7, stalled=10)
        assert not observer.latest.is_still
        engine.labels("engine-0").set(7)
        await observer.until(lambda seen: seen.is_still, stalled=10)
