"""Which policy is recorded, trained and served."""

from deploy.observability.grafana.chart import Chart, PanelRow, quantile

POLICY = PanelRow(
    "Policy",
    (
        Chart(
            "Policy version",
            "Recorded, trained and served by each engine; an engine below the others is being swapped.",
            "none",
            {
                "recorded": "max(turngate_policy_version)",
                "best on held-out episodes": "max(turngate_best_policy_version)",
                "trained": "max(turngate_training_policy_version)",
                "{{engine}}": "max by (engine) (turngate_engine_policy_version)",
            },
        ),
        Chart(
            "Staleness",
            "Training version minus the oldest version in the group, when claimed.",
            "none",
            {
                "p50": quantile(0.5, "turngate_training_staleness"),
                "p99": quantile(0.99, "turngate_training_staleness"),
            },
        ),
        Chart(
            "Swap gap",
            "How long an engine is paused for new weights: the gap a running turn sees.",
            "s",
            {
                "p50 {{engine}}": quantile(0.5, "turngate_swap_gap_seconds", by="engine"),
                "p99 {{engine}}": quantile(0.99, "turngate_swap_gap_seconds", by="engine"),
            },
        ),
    ),
)
