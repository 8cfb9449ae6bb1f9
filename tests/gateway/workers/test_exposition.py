"""What several workers see of one store and the same engines, as one answer."""

from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import EngineReading, Metrics, Snapshot
from gateway.workers.exposition import exposition, joined
from gateway.workers.families import Family, added
from rollout.store.totals import parse_places, parse_totals

TOTALS = parse_totals({"opened": "7"}, ready=0, claimed=0, places=parse_places({}))


def seen(*, inflight: int, is_up: bool = True, version: int = 3) -> Snapshot:
    engine = EngineReading("a", is_up=is_up, num_inflight=inflight, policy_version=version)
    return Snapshot(engines=(engine,), policy_version=version, totals=TOTALS)


def values(*snapshots: Snapshot) -> dict[str, float]:
    """The samples without labels, and those of engine `a`."""
    metrics = Metrics()
    metrics.prompt_tokens.inc(5)
    counted = [Family.of(metric) for metric in metrics.counted()]
    state = joined(snapshots, num_workers=2, worker_restarts=1)
    text = exposition(added([counted] * len(snapshots)), state)
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels in ({}, {"engine": "a"})
    }


def test_what_the_store_counts_is_given_once() -> None:
    """The episodes of a project are no more because two workers read them; what each counts itself is added."""
    both = values(seen(inflight=1), seen(inflight=1))
    assert both["turngate_episodes_opened_total"] == 7
    assert both["turngate_prompt_tokens_total"] == 10
    assert (both["turngate_workers"], both["turngate_worker_restarts_total"]) == (2, 1)


def test_an_engine_has_the_calls_of_all_workers() -> None:
    """It is up if any of them reaches it, with the newest policy that any of them knows."""
    both = values(seen(inflight=2, is_up=False), seen(inflight=3, version=4))
    assert both["turngate_engine_inflight"] == 5
    assert (both["turngate_engine_up"], both["turngate_engine_policy_version"]) == (1, 4)
    assert both["turngate_policy_version"] == 4


def test_a_store_that_one_worker_does_not_reach_is_down() -> None:
    """As the alert reads it of several gateways."""
    both = values(seen(inflight=0), Snapshot())
    assert both["turngate_store_up"] == 0


def test_workers_that_say_nothing_leave_what_was_counted() -> None:
    """The state is unknown then, and the counters are there."""
    nobody = values()
    assert nobody["turngate_store_up"] == 0
    assert nobody["turngate_workers"] == 2
