"""Four single numbers at the top."""

from deploy.observability.grafana.chart import WINDOW, Chart

HEADLINE = (
    Chart(
        "Mean reward",
        "Mean episode reward of the last trained batch.",
        "none",
        {"reward": "max(turngate_training_reward_mean)"},
    ),
    Chart(
        "Policy version",
        "The recorded policy.",
        "none",
        {"version": "max(turngate_policy_version)"},
    ),
    Chart(
        "Live episodes",
        "Episodes opened and not yet trained or discarded.",
        "none",
        {"live": "sum(max by (status) (turngate_episodes_live))"},
    ),
    Chart(
        "Failed requests",
        "Share of model calls answered with a 5xx.",
        "percentunit",
        {
            "failed": f'sum(rate(turngate_requests_total{{status=~"5.."}}[{WINDOW}]))'
            f" / sum(rate(turngate_requests_total[{WINDOW}]))"
        },
    ),
)
