"""What the trainer says about itself: Prometheus metrics, a log line per step, the row of the ledger.

Means over tokens are of the tokens that were trained; sequences without an advantage run no forward pass and are not in them.
"""

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
from trainer.objective.value_objective import explained_variance
from trainer.telemetry.token_histogram import TokenHistogram

log = logging.getLogger("trainer")

PHASES = ("claim", "prepare", "logprobs", "step", "publish", "swap", "checkpoint")
ALERTS = ("publish", "checkpoint", "swap", "not_finite", "writer")
GAUGES = {  # of what `summarize` gives
    "loss": "Mean over the optimizer steps of the last batch",
    "kl": "KL(behavior || proximal), k3, per trained token",
    "reference_kl": "KL(current || reference), k3, per trained token; 0 without a reference",
    "gradient_norm": "Before clipping",
    "entropy": "Per trained token, nats",
    "importance_weight_mean": "proximal / behavior",
    "importance_weight_max": "The largest of them",
    "effective_sample_size": "Of the importance weights, 0..1",
    "zero_advantage_fraction": "Episodes that teach nothing",
    "rejected_fraction": "Of the trained tokens, those that a correction, a mask or a rule about flagged or stale tokens leaves no gradient",
    "critic_loss": "The same of the critic; these four are 0 without one",
    "critic_gradient_norm": "Before clipping, of the critic",
    "explained_variance": "Of the returns, by what the critic said before the step: 1 is all of it, 0 none",
    "value_clip_fraction": "Of the tokens, those whose value has moved further than value_clip since the batch was measured",
    "token_staleness_mean": "Training version minus that of each trained token",
    "token_staleness_max": "The same, of the oldest",
    "reward_mean": "Mean reward of the batch's episodes",
    "merge_ratio": "Tokens that one row per output would have taken / tokens trained",
    "sharing_ratio": "The part of it that trees have: tokens of the rows / tokens trained",
}
_PHASE_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
_STALENESS_BUCKETS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
_GAP_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


def summarize(batch: Batch, steps: Steps) -> dict[str, float]:
    """The steps of a batch in numbers: those of the batch, of the policy unless it stood still, of the critic if there is one."""
    return {
        **_of_batch(batch, steps),
        **(_of_policy(steps) if steps.moved else {}),
        **(_of_critic(steps) if steps.critic_moved else {}),
    }


def _of_batch(batch: Batch, steps: Steps) -> dict[str, float]:
    return {
        "optimizer_steps": len(steps.moved),
        "skipped_steps": len(steps.skipped),
        "zero_advantage_fraction": batch.zero_advantage_fraction,
        "reward_mean": statistics.fmean(batch.rewards),
        "staleness_median": statistics.median(batch.staleness),
        "staleness_max": max(batch.staleness),
        "token_staleness_mean": float(batch.token_staleness.double().mean()),
        "token_staleness_max": float(batch.token_staleness.max()),
        "episodes": batch.num_episodes,
        "sampled_tokens": batch.num_sampled_tokens,
        "trained_tokens": steps.num_tokens_of(batch),
        "merge_ratio": batch.num_unmerged_tokens / max(1, batch.train.num_tokens),
        "sharing_ratio": batch.train.num_row_tokens / max(1, batch.train.num_tokens),
    }


def _of_policy(steps: Steps) -> dict[str, float]:
    """From sums over their tokens; loss and norm are means over those that moved."""
    sums = steps.sums
    tokens = max(1.0, sums["tokens"])
    weight, squares = sums["importance_weight"], sums["importance_weight_squared"]
    return {
        **_descent(steps.moved),
        "kl": sums["kl"] / tokens,
        "reference_kl": sums.get("reference_kl", 0.0) / tokens,
        "clip_fraction_high": sums["clipped_high"] / max(1.0, sums["positive_tokens"]),
        "clip_fraction_low": sums["clipped_low"] / max(1.0, sums["negative_tokens"]),
        "clip_fraction_dual": sums["clipped_dual"] / max(1.0, sums["negative_tokens"]),
        "rejected_fraction": sums["rejected"] / tokens,
        **{f"rejected_by_{rule}": sums[f"rejected_by_{rule}"] / tokens for rule in REJECTING},
        "entropy": sums["entropy"] / tokens,
        "importance_weight_mean": weight / tokens,
        "importance_weight_max": steps.maxima["importance_weight_max"],
        "effective_sample_size": weight**2 / (tokens * squares) if squares else 1.0,
    }


def _of_critic(steps: Steps) -> dict[str, float]:
    sums = steps.critic_sums
    named = {f"critic_{name}": value for name, value in _descent(steps.critic_moved).items()}
    return named | {
        "explained_variance": explained_variance(sums),
        "value_clip_fraction": sums["clipped"] / max(1.0, sums["tokens"]),
    }


def _descent(moved: Sequence[StepMetrics]) -> dict[str, float]:
    return {
        "loss": statistics.fmean(step.loss for step in moved),
        "gradient_norm": statistics.fmean(step.gradient_norm for step in moved),
        "learning_rate": moved[-1].learning_rate,
    }


class Report:
    """The metrics of one trainer process, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"turngate_training_{name}", text, registry=registry)

        def histogram(name: str, text: str, label: str, buckets: Sequence[float]) -> Histogram:
            labels = [label] if label else []
            return Histogram(f"turngate_{name}", text, labels, registry=registry, buckets=buckets)

        self._steps = Counter("turngate_training_steps", "Optimizer steps taken", registry=registry)
        self._skipped = Counter(
            "turngate_training_skipped_steps",
            "Optimizer steps not taken because loss or gradient was not finite",
            registry=registry,
        )
        self._tokens = Counter(
            "turngate_training_tokens", "Tokens in forward and backward passes", registry=registry
        )
        self._replaced = Counter(
            "turngate_training_replaced_groups",
            "Groups of equal rewards that dynamic sampling replaced",
            registry=registry,
        )
        self._flagged = Counter(
            "turngate_training_flagged_tokens",
            "Sampled tokens that a grammar, penalties, truncation or greedy decoding had a say in",
            ["flag", "handling"],
            registry=registry,
        )
        self._alerts = Counter(
            "turngate_training_alerts", "What needs an operator's eye", ["kind"], registry=registry
        )
        self._phases = histogram(
            "training_phase_seconds", "Time in each phase of a batch", "phase", _PHASE_BUCKETS
        )
        self._staleness = histogram(
            "training_staleness", "Training version minus a group's oldest", "", _STALENESS_BUCKETS
        )
        self._gaps = histogram(
            "swap_gap_seconds", "How long an engine paused for new weights", "engine", _GAP_BUCKETS
        )
        self._gauges = {name: gauge(name, text) for name, text in GAUGES.items()}
        self._clipped = Gauge(
            "turngate_training_clip_fraction",
            "Clipped tokens: high of those with A > 0, low and dual of those with A < 0",
            ["side"],
            registry=registry,
        )
        self._rejected = Gauge(
            "turngate_training_rejected_by_fraction",
            "Of the trained tokens, those that lost their gradient to this rule first",
            ["rule"],
            registry=registry,
        )
        self._token_staleness = TokenHistogram(
            "turngate_training_token_staleness",
            "Training version minus that of each token in a batch",
            registry=registry,
            bounds=_STALENESS_BUCKETS,
        )
        self._version = gauge("policy_version", "The policy the learner holds")
        for phase in PHASES:
            self._phases.labels(phase)
        for kind in ALERTS:
            self._alerts.labels(kind)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time one phase of the loop."""
        assert name in PHASES
        start = time.perf_counter()
        yield
        self._phases.labels(name).observe(time.perf_counter() - start)

    def stepped(self, summary: dict[str, float], *, step: int, version: int) -> None:
        """Optimizer steps that became a policy."""
        self._steps.inc(summary["optimizer_steps"])
        self._tokens.inc(summary["trained_tokens"])
        for name, gauge in self._gauges.items():
            if name in summary:
                gauge.set(summary[name])
        if summary["optimizer_steps"]:
            for side in ("high", "low", "dual"):
                self._clipped.labels(side).set(summary[f"clip_fraction_{side}"])
            for rule in REJECTING:
                self._rejected.labels(rule).set(summary[f"rejected_by_{rule}"])
        self._version.set(version)
        fields = {name: round(value, 6) for name, value in summary.items()}
        log.info("step", extra={"step": step, "version": version, **fields})

    def skipped(self, metrics: StepMetrics) -> None:
        """A step that was not finite moved no weight."""
        self._skipped.inc()
        self.alert("not_finite", loss=metrics.loss, norm=metrics.gradient_norm)

    def prepared(self, batch: Batch, *, flagged_tokens: FlaggedTokens) -> None:
        """What a batch tells before it is trained, and even if it teaches nothing."""
        for flag, count in batch.num_flagged_tokens.items():
            self._flagged.labels(flag, flagged_tokens).inc(count)
        for versions in batch.staleness:
            self._staleness.observe(versions)
        self._token_staleness.observe(batch.token_staleness)
        if not batch.awaits_values:
            self._gauges["zero_advantage_fraction"].set(batch.zero_advantage_fraction)
        self._gauges["reward_mean"].set(statistics.fmean(batch.rewards))

    def replaced(self, groups: int) -> None:
        """Dynamic sampling let go of groups that teach nothing."""
        self._replaced.inc(groups)

    def swapped(self, engine: str, gap_seconds: float) -> None:
        self._gaps.labels(engine).observe(gap_seconds)

    def serving(self, version: int) -> None:
        self._version.set(version)

    def alert(self, kind: str, **fields: object) -> None:
        """Count and log something that an operator must look at; training goes on."""
        assert kind in ALERTS
        self._alerts.labels(kind).inc()
        log.error(kind, extra=fields)
