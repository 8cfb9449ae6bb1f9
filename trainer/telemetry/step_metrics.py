"""The numbers of a batch's optimizer steps: one record each, with its formula and, if it has one, its panel on the dashboard.

Every number goes to the log line, the ledger and the metric writers; one with an explanation is a Prometheus gauge too. Means over
tokens are over the tokens that were trained: sequences without an advantage run no forward pass and are not counted.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainer.batch.batch import Batch
from trainer.learner.optimizer_step import StepMetrics
from trainer.objective.objective import REJECTING
from trainer.objective.steps import Steps
from trainer.objective.value_objective import explained_variance

Read = Callable[[Batch, Steps], float | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart of the dashboard that shows one gauge."""

    title: str
    unit: str = "none"  # Grafana's name of it


@dataclass(frozen=True, slots=True)
class StepMetric:
    name: str
    read: Read  # None: these steps have no such number, for example without a critic
    explanation: str = ""  # of the gauge turngate_training_<name>
    panel: Panel | None = None


def summarize(
    batch: Batch, steps: Steps, metrics: Sequence[StepMetric] | None = None
) -> dict[str, float]:
    """The steps of a batch in numbers, by name."""
    values = {m.name: m.read(batch, steps) for m in metrics or STEP_METRICS}
    return {name: value for name, value in values.items() if value is not None}


def _of_policy(read: Callable[[Steps], float]) -> Read:
    """Of the steps that moved the policy, from sums over their tokens."""
    return lambda _, steps: read(steps) if steps.moved else None


def _of_critic(read: Callable[[Steps], float]) -> Read:
    return lambda _, steps: read(steps) if steps.critic_moved else None


def _share(name: str, *, of: str = "tokens") -> Read:
    return _of_policy(lambda steps: steps.sums.get(name, 0.0) / max(1.0, steps.sums[of]))


def _effective_sample_size(steps: Steps) -> float:
    weight, squares = steps.sums["importance_weight"], steps.sums["importance_weight_squared"]
    return weight**2 / (max(1.0, steps.sums["tokens"]) * squares) if squares else 1.0


def _value_clip_fraction(steps: Steps) -> float:
    return steps.critic_sums["clipped"] / max(1.0, steps.critic_sums["tokens"])


def _mean_loss(moved: Sequence[StepMetrics]) -> float:
    return statistics.fmean(step.loss for step in moved)


def _mean_norm(moved: Sequence[StepMetrics]) -> float:
    return statistics.fmean(step.gradient_norm for step in moved)


OF_BATCH = (
    StepMetric("optimizer_steps", lambda _, steps: len(steps.moved)),
    StepMetric("skipped_steps", lambda _, steps: len(steps.skipped)),
    StepMetric(
        "zero_advantage_fraction",
        lambda batch, _: batch.zero_advantage_fraction,
        "Episodes in which no token has an advantage",
    ),
    StepMetric(
        "reward_mean",
        lambda batch, _: statistics.fmean(batch.rewards),
        "Mean reward of the batch's episodes",
    ),
    StepMetric("staleness_median", lambda batch, _: statistics.median(batch.staleness)),
    StepMetric("staleness_max", lambda batch, _: max(batch.staleness)),
    StepMetric(
        "token_staleness_mean",
        lambda batch, _: float(batch.token_staleness.double().mean()),
        "Training version minus that of each trained token",
    ),
    StepMetric(
        "token_staleness_max",
        lambda batch, _: float(batch.token_staleness.max()),
        "The same, of the oldest token",
    ),
    StepMetric("episodes", lambda batch, _: batch.num_episodes),
    StepMetric("sampled_tokens", lambda batch, _: batch.num_sampled_tokens),
    StepMetric("trained_tokens", lambda batch, steps: steps.num_tokens_of(batch)),
    StepMetric(
        "merge_ratio",
        lambda batch, _: batch.num_unmerged_tokens / max(1, batch.train.num_tokens),
        "Tokens of one row per output / tokens trained",
    ),
    StepMetric(
        "sharing_ratio",
        lambda batch, _: batch.train.num_row_tokens / max(1, batch.train.num_tokens),
        "The part of the merge ratio that trees have: tokens of the rows / tokens trained",
    ),
)
OF_POLICY = (
    StepMetric(
        "loss",
        _of_policy(lambda steps: _mean_loss(steps.moved)),
        "Policy loss, mean over the optimizer steps of the last batch",
        Panel("Loss"),
    ),
    StepMetric(
        "gradient_norm", _of_policy(lambda steps: _mean_norm(steps.moved)), "Before clipping"
    ),
    StepMetric("learning_rate", _of_policy(lambda steps: steps.moved[-1].learning_rate)),
    StepMetric("kl", _share("kl"), "KL(behavior || proximal), k3, per trained token"),
    StepMetric(
        "reference_kl",
        _share("reference_kl"),
        "KL(current || reference), k3, per trained token; 0 without a reference",
    ),
    StepMetric("clip_fraction_high", _share("clipped_high", of="positive_tokens")),
    StepMetric("clip_fraction_low", _share("clipped_low", of="negative_tokens")),
    StepMetric("clip_fraction_dual", _share("clipped_dual", of="negative_tokens")),
    StepMetric(
        "rejected_fraction",
        _share("rejected"),
        "Of the trained tokens, those that a correction, a mask or a rule about flagged or stale tokens leaves no gradient",
    ),
    *(StepMetric(f"rejected_by_{rule}", _share(f"rejected_by_{rule}")) for rule in REJECTING),
    StepMetric("entropy", _share("entropy"), "Per trained token, nats"),
    StepMetric("importance_weight_mean", _share("importance_weight"), "proximal / behavior"),
    StepMetric(
        "importance_weight_max",
        _of_policy(lambda steps: steps.maxima["importance_weight_max"]),
        "The largest of the importance weights",
    ),
    StepMetric(
        "effective_sample_size",
        _of_policy(_effective_sample_size),
        "Of the importance weights, 0..1",
    ),
)
OF_CRITIC = (
    StepMetric(
        "critic_loss",
        _of_critic(lambda steps: _mean_loss(steps.critic_moved)),
        "As loss, of the critic; the gauges of the critic are 0 without one",
    ),
    StepMetric(
        "critic_gradient_norm",
        _of_critic(lambda steps: _mean_norm(steps.critic_moved)),
        "Before clipping, of the critic",
    ),
    StepMetric(
        "critic_learning_rate", _of_critic(lambda steps: steps.critic_moved[-1].learning_rate)
    ),
    StepMetric(
        "explained_variance",
        _of_critic(lambda steps: explained_variance(steps.critic_sums)),
        "Of the returns, by the critic's values before the step: 1 is all of it, 0 none",
    ),
    StepMetric(
        "value_clip_fraction",
        _of_critic(_value_clip_fraction),
        "Of the tokens, those whose value has moved further than value_clip since the batch was measured",
    ),
)
STEP_METRICS = (*OF_BATCH, *OF_POLICY, *OF_CRITIC)
