"""How calls continue their episode, and which sampled tokens reach a gradient."""

from deploy.observability.grafana.chart import WINDOW, Chart, PanelRow, rate

FIDELITY = PanelRow(
    "Fidelity",
    (
        Chart(
            "How calls attach",
            "Bridged calls reuse recorded ids, branched ones changed their history, roots start anew.",
            "reqps",
            {"{{how}}": rate("turngate_calls_attached_total", by="how")},
        ),
        Chart(
            "Breaks by class",
            "Why calls did not continue their episode: start = no answer to continue, prompt = other instructions"
            " or tools, history = edited messages, template and reading = shown unlike it was sampled.",
            "reqps",
            {"{{class}}": rate("turngate_breaks_total", by="class")},
        ),
        Chart(
            "Breaks by client",
            "All classes but start, which sub-agents make by right.",
            "reqps",
            {"{{client}}": rate('turngate_breaks_total{class!="start"}', by="client")},
        ),
        Chart(
            "Delivered fraction",
            "Of the tokens sampled in settled episodes, those that went through a backward pass; over all time"
            " and over the last hour.",
            "percentunit",
            {
                "all": "max(turngate_delivered_tokens_total)"
                " / sum(max by (disposition) (turngate_settled_tokens_total))",
                "last hour": "max(increase(turngate_delivered_tokens_total[1h]))"
                " / sum(max by (disposition) (increase(turngate_settled_tokens_total[1h])))",
            },
        ),
        Chart(
            "Tokens by disposition",
            "Sampled tokens of episodes as they settle, per second; abandoned and side are orphaned at once.",
            "none",
            {
                "{{disposition}}": "max by (disposition)"
                f" (rate(turngate_settled_tokens_total[{WINDOW}]))",
                "orphaned: {{reason}}": rate("turngate_orphaned_tokens_total", by="reason"),
            },
        ),
        Chart(
            "Merge ratio",
            "Tokens that one row per output would have taken, over those trained in the last step.",
            "none",
            {
                "times fewer": "max(turngate_training_merge_ratio)",
                "of that by trees": "max(turngate_training_sharing_ratio)",
            },
        ),
    ),
)
