"""What the trainer reports about itself: Prometheus metrics, and one log line per step."""

import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from rollout.settings import FlaggedTokens
from trainer.batch.batch import Batch
from trainer.learner.optimizer_step import StepMetrics
from trainer.objective.objective import REJECTING
from trainer.objective.steps import Steps
from trainer.telemetry.step_metrics import STEP_METRICS, StepMetric, summarize
from trainer.telemetry.token_histogram import TokenHistogram

log = logging.getLogger("trainer")

PHASES = ("claim", "prepare", "logprobs", "step", "publish", "swap", "checkpoint")
ALERTS = (
    "damaged",
    "publish",
    "checkpoint",
    "swap",
    "not_finite",
    "writer",
    "waiting",
    "claim_lost",
    "group",
    "step",
)
SIDES = ("high", "low", "dual")

# name -> (explanation, labels); each begins with turngate_training_
COUNTERS = {
    "steps": ("Optimizer steps taken", ()),
    "skipped_steps": ("Optimizer steps not taken because loss or gradient was not finite", ()),
    "tokens": ("Tokens in forward and backward passes", ()),
    "replaced_groups": ("Groups of equal rewards that dynamic sampling replaced", ()),
    "flagged_tokens": (
        "Sampled tokens that a grammar, penalties, truncation or greedy decoding influenced",
        ("flag", "handling"),
    ),
    "alerts": ("Events that need an operator's attention", ("kind",)),
}
LABELED_GAUGES = {
    "clip_fraction": (
        "Clipped tokens: high of those with A > 0, low and dual of those with A < 0",
        ("side",),
    ),
    "rejected_by_fraction": (
        "Of the trained tokens, those that lost their gradient to this rule first",
        ("rule",),
    ),
}
_PHASE_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
_STALENESS_BUCKETS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
_GAP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)
# name -> (explanation, labels, upper bounds)
HISTOGRAMS = {
    "training_phase_seconds": ("Time in each phase of a batch", ("phase",), _PHASE_BUCKETS),
    "training_staleness": ("Training version minus a group's oldest", (), _STALENESS_BUCKETS),
    "swap_gap_seconds": ("How long an engine paused for new weights", ("engine",), _GAP_BUCKETS),
}


class Report:
    """The metrics of one trainer process, in a registry of its own."""

    def __init__(
        self, registry: CollectorRegistry, *, step_metrics: Sequence[StepMetric] = STEP_METRICS
    ) -> None:
        self._step_metrics = step_metrics
        self._counters = {
            name: Counter(f"turngate_training_{name}", text, labels, registry=registry)
            for name, (text, labels) in COUNTERS.items()
        }
        gauges = {m.name: (m.explanation, ()) for m in step_metrics if m.explanation}
        gauges["policy_version"] = ("The policy the learner holds", ())
        self._gauges = {
            name: Gauge(f"turngate_training_{name}", text, labels, registry=registry)
            for name, (text, labels) in (gauges | LABELED_GAUGES).items()
        }
        self._histograms = {
            name: Histogram(f"turngate_{name}", text, labels, registry=registry, buckets=bounds)
            for name, (text, labels, bounds) in HISTOGRAMS.items()
        }
        self._token_staleness = TokenHistogram(
            "turngate_training_token_staleness",
            "Training version minus that of each token in a batch",
            registry=registry,
            bounds=_STALENESS_BUCKETS,
        )
        for phase in PHASES:
            self._histograms["training_phase_seconds"].labels(phase)
        for kind in ALERTS:
            self._counters["alerts"].labels(kind)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase of the loop."""
        assert name in PHASES
        start = time.perf_counter()
        yield
        self._histograms["training_phase_seconds"].labels(name).observe(time.perf_counter() - start)

    def stepped(self, batch: Batch, steps: Steps, *, step: int, version: int) -> dict[str, float]:
        """Optimizer steps became a policy; returns them in numbers."""
        summary = summarize(batch, steps, self._step_metrics)
        self._counters["steps"].inc(summary["optimizer_steps"])
        self._counters["tokens"].inc(summary["trained_tokens"])
        for name in summary.keys() & self._gauges.keys():
            self._gauges[name].set(summary[name])
        if steps.moved:
            for side in SIDES:
                gauge = self._gauges["clip_fraction"].labels(side)
                gauge.set(summary[f"clip_fraction_{side}"])
            for rule in REJECTING:
                gauge = self._gauges["rejected_by_fraction"].labels(rule)
                gauge.set(summary[f"rejected_by_{rule}"])
        self.serving(version)
        fields = {name: round(value, 6) for name, value in summary.items()}
        log.info("step", extra={"step": step, "version": version, **fields})
        return summary

    def skipped(self, metrics: StepMetrics) -> None:
        """A step that was not finite moved no weight."""
        self._counters["skipped_steps"].inc()
        self.alert("not_finite", loss=metrics.loss, norm=metrics.gradient_norm)

    def prepared(self, batch: Batch, *, flagged_tokens: FlaggedTokens) -> None:
        """The numbers of a batch that are known before it is trained, also if it has no signal."""
        for flag, count in batch.num_flagged_tokens.items():
            self._counters["flagged_tokens"].labels(flag, flagged_tokens).inc(count)
        for versions in batch.staleness:
            self._histograms["training_staleness"].observe(versions)
        self._token_staleness.observe(batch.token_staleness)
        if not batch.awaits_values:
            self._gauges["zero_advantage_fraction"].set(batch.zero_advantage_fraction)
        self._gauges["reward_mean"].set(statistics.fmean(batch.rewards))

    def replaced(self, groups: int) -> None:
        """Dynamic sampling discarded groups of equal rewards."""
        self._counters["replaced_groups"].inc(groups)

    def swapped(self, engine: str, gap_seconds: float) -> None:
        self._histograms["swap_gap_seconds"].labels(engine).observe(gap_seconds)

    def serving(self, version: int) -> None:
        self._gauges["policy_version"].set(version)

    def alert(self, kind: str, **fields: object) -> None:
        """Count and log an event that needs an operator's attention; training continues."""
        assert kind in ALERTS
        self._counters["alerts"].labels(kind).inc()
        log.error(kind, extra=fields)
