"""What workers count, added up."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.workers.families import Family, added


def counted(calls: int, seconds: float) -> list[Family]:
    """What a worker says that had so many calls of this duration, and one more of a route of its own."""
    registry = CollectorRegistry()
    requests = Counter("requests", "Answers", ["route"], registry=registry)
    durations = Histogram("seconds", "Time", registry=registry, buckets=(0.1, 1))
    requests.labels(f"/{calls}").inc()
    for _ in range(calls):
        requests.labels("/v1").inc()
        durations.observe(seconds)
    return [Family.of(metric) for metric in registry.collect()]


def samples(families: list[Family]) -> dict[str, float]:
    return {
        name + "".join(value for _, value in labels): value
        for family in families
        for name, labels, value in family.samples
    }


def test_counters_and_histograms_are_added_by_label() -> None:
    """Each bucket, sum and count is the sum of the workers', and a label of one worker is kept."""
    total = samples(added([counted(2, 0.05), counted(3, 0.5)]))
    assert total["requests_total/v1"] == 5
    assert (total["requests_total/2"], total["requests_total/3"]) == (1, 1)
    assert (total["seconds_bucket0.1"], total["seconds_bucket1.0"], total["seconds_count"]) == (
        2,
        5,
        5,
    )


def test_a_sum_began_when_its_first_worker_did() -> None:
    """Times of creation are not added."""
    first, second = counted(1, 0.1), counted(1, 0.1)
    began = samples(first)["seconds_created"]
    assert samples(added([second, first]))["seconds_created"] == began


def test_sums_are_added_like_counts() -> None:
    """What ended workers have counted is such a sum, to which others are added again and again."""
    parts = [counted(n, 0.1) for n in (1, 2, 3)]
    step_by_step = added([added([added([(), parts[0]]), parts[1]]), parts[2]])
    assert samples(step_by_step) == samples(added(parts))
