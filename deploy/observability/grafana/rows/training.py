"""What the trainer measures, step by step. Metrics with a panel of their own bring it along."""

from collections.abc import Iterable

from deploy.observability.grafana.chart import WINDOW, Chart, PanelRow, quantile, rate
from trainer.telemetry.step_metrics import STEP_METRICS, StepMetric


def training_row(metrics: Iterable[StepMetric] = STEP_METRICS) -> PanelRow:
    return PanelRow(
        "Training",
        (
            Chart(
                "Step time by phase",
                "Mean seconds each phase takes; `claim` is the wait for a whole batch.",
                "s",
                {
                    "{{phase}}": f"sum by (phase) (rate(turngate_training_phase_seconds_sum[{WINDOW}]))"
                    f" / sum by (phase) (rate(turngate_training_phase_seconds_count[{WINDOW}]))"
                },
            ),
            *step_charts(metrics),
            Chart(
                "KL",
                "k3 estimates: the behavior policy against the proximal one, which is staleness plus engine mismatch; "
                "the current one against the reference, if the algorithm has one.",
                "none",
                {
                    "behavior": "max(turngate_training_kl)",
                    "reference": "max(turngate_training_reference_kl)",
                },
            ),
            Chart(
                "Clip fraction",
                "Share of the tokens with a positive (high) or negative (low, dual) advantage whose ratio was clipped.",
                "percentunit",
                {"{{side}}": "max by (side) (turngate_training_clip_fraction)"},
            ),
            Chart(
                "Gradient norm and entropy",
                "Before clipping; nats per sampled token.",
                "none",
                {
                    "gradient norm": "max(turngate_training_gradient_norm)",
                    "entropy": "max(turngate_training_entropy)",
                },
            ),
            Chart(
                "Critic",
                "Of an algorithm with one: loss of its last step, the share of the returns' variance that it knew of, values clipped.",
                "none",
                {
                    "loss": "max(turngate_training_critic_loss)",
                    "explained variance": "max(turngate_training_explained_variance)",
                    "gradient norm": "max(turngate_training_critic_gradient_norm)",
                    "clip fraction": "max(turngate_training_value_clip_fraction)",
                },
            ),
            Chart(
                "Importance weights",
                "Mean and largest weight and effective sample size, all 1 when the engine and the trainer agree.",
                "none",
                {
                    "mean weight": "max(turngate_training_importance_weight_mean)",
                    "largest weight": "max(turngate_training_importance_weight_max)",
                    "effective sample size": "max(turngate_training_effective_sample_size)",
                    "zero-advantage episodes": "max(turngate_training_zero_advantage_fraction)",
                },
            ),
            Chart(
                "Rejected tokens",
                "Share of the trained tokens that get no gradient, in all and by the rule that took it first.",
                "percentunit",
                {
                    "all": "max(turngate_training_rejected_fraction)",
                    "{{rule}}": "max by (rule) (turngate_training_rejected_by_fraction)",
                },
            ),
            Chart(
                "Token staleness",
                "Policy versions between a token and the step it trains in; a fresh episode may have an old head.",
                "none",
                {
                    "p50": quantile(0.5, "turngate_training_token_staleness"),
                    "p99": quantile(0.99, "turngate_training_token_staleness"),
                    "oldest": "max(turngate_training_token_staleness_max)",
                },
            ),
            Chart(
                "Replaced groups",
                "Groups of equal rewards that dynamic sampling replaced, per minute.",
                "none",
                {"groups/min": f"60 * {rate('turngate_training_replaced_groups_total')}"},
            ),
            Chart(
                "Trained tokens",
                "Tokens in forward and backward passes, prompts included, per second; optimizer steps per minute, taken and skipped.",
                "none",
                {
                    "tokens/s": rate("turngate_training_tokens_total"),
                    "steps/min": f"60 * {rate('turngate_training_steps_total')}",
                    "skipped/min": f"60 * {rate('turngate_training_skipped_steps_total')}",
                },
            ),
        ),
    )


def step_charts(metrics: Iterable[StepMetric]) -> list[Chart]:
    """The panels that the trainer's metrics bring along."""
    return [
        Chart(
            metric.panel.title,
            f"{metric.explanation}.",
            metric.panel.unit,
            {metric.name.replace("_", " "): f"max(turngate_training_{metric.name})"},
        )
        for metric in metrics
        if metric.panel is not None
    ]
