"""Episodes, where they end, and their rewards."""

from deploy.observability.grafana.chart import WINDOW, Chart, PanelRow, rate

EPISODES = PanelRow(
    "Episodes and rewards",
    (
        Chart(
            "Episodes by disposition",
            "Where episodes ended, per second; `trained` or a reason for being discarded.",
            "none",
            {
                "opened": f"max(rate(turngate_episodes_opened_total[{WINDOW}]))",
                "{{disposition}}": f"max by (disposition) (rate(turngate_episodes_total[{WINDOW}]))",
            },
        ),
        Chart(
            "Live episodes",
            "By status; a growing `rewarded` means the trainer is the bottleneck.",
            "none",
            {"{{status}}": "max by (status) (turngate_episodes_live)"},
        ),
        Chart(
            "Reward",
            "Mean reward of episodes as rewards arrive, and of the trained batches.",
            "none",
            {
                "arriving": f"max(rate(turngate_episode_reward_sum_total[{WINDOW}]))"
                f" / max(rate(turngate_episode_reward_count_total[{WINDOW}]))",
                "trained": "max(turngate_training_reward_mean)",
            },
        ),
        Chart(
            "Held-out reward",
            "Mean reward of the side episodes of each policy on disk that has any.",
            "none",
            {"v{{version}}": "max by (version) (turngate_evaluation_reward_mean)"},
        ),
        Chart(
            "Backlog",
            "Groups by state: waiting for members, ready, claimed.",
            "none",
            {"{{state}}": "max by (state) (turngate_backlog_groups)"},
        ),
        Chart(
            "Damaged records",
            "Records in Redis that could not be read and were moved aside; the gateway's log names each.",
            "none",
            {"records": "max(turngate_damaged_records_total)"},
        ),
        Chart(
            "Failing loops",
            "Failures per second of what gateways do between requests; such a loop starts again by itself.",
            "none",
            {"{{loop}}": rate("turngate_loop_failures_total", by="loop")},
        ),
        Chart(
            "Admission",
            "Places that are held, of these by the trainer and by the key with the most, and the limit.",
            "none",
            {
                "{{holder}}": "max by (holder) (turngate_reserved_episodes)",
                "limit": "max(turngate_admission_limit_episodes)",
            },
        ),
    ),
)
