"""Every metric that a process exports, read from its registry."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from docs.generate.markdown import code, table
from gateway.metrics import EngineReading, EvaluationReading, Metrics, Snapshot
from rollout.store.totals import parse_places, parse_totals
from trainer.telemetry.report import Report

INTRO = """\
# Metrics

Each process exports its metrics at `/metrics` on a listener of its own, for Prometheus: the gateway on `TURNGATE_GATEWAY_METRICS_PORT`, the trainer on
`TURNGATE_TRAINER_METRICS_PORT`. SGLang exports its own under the names `sglang:…`. This page is generated from the registries of the two processes.
"""
# One of everything, so that no family is empty.
SEEN = Snapshot(
    engines=(EngineReading("http://engine", is_up=True, num_inflight=0, policy_version=1),),
    policy_version=1,
    totals=parse_totals({}, ready=0, claimed=0, places=parse_places({})),
    evaluations=(EvaluationReading(1, 0.5, 30, is_best=True),),
)


def page() -> str:
    parts = (f"## {title}\n\n{listed(registry)}\n" for title, registry in registries().items())
    return "\n".join([INTRO, *parts])


def registries() -> dict[str, CollectorRegistry]:
    gateway, trainer = Metrics(), CollectorRegistry()
    gateway.snapshot = SEEN
    Report(trainer)
    return {"Gateway": gateway._registry, "Trainer": trainer}  # noqa: SLF001  nobody else reads it


def listed(registry: CollectorRegistry) -> str:
    return table(("metric", "type", "labels", "meaning"), rows(registry))


def rows(registry: CollectorRegistry) -> Iterator[tuple[str, str, str, str]]:
    for family in sorted(registry.collect(), key=lambda family: family.name):
        named = ", ".join(map(code, labels(family, registry)))
        yield code(exported(family)), family.type, named, family.documentation


def exported(family: Metric) -> str:
    """The name as Prometheus stores it."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def labels(family: Metric, registry: CollectorRegistry) -> list[str]:
    """Those of its series; a family without any has those that it was made with."""
    found = {label for sample in family.samples for label in sample.labels if label != "le"}
    made = registry._names_to_collectors.get(family.name)  # noqa: SLF001  there is no public way
    return sorted(found | set(getattr(made, "_labelnames", ())))
