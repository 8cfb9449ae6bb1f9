"""Requests, tokens and how long they take."""

from deploy.observability.grafana.chart import Chart, PanelRow, quantile, rate

TRAFFIC = PanelRow(
    "Traffic",
    (
        Chart(
            "Requests",
            "Calls per second by route and status.",
            "reqps",
            {"{{route}} {{status}}": rate("turngate_requests_total", by="route, status")},
        ),
        Chart(
            "Turn latency",
            "From the request's last byte to the reply's last byte.",
            "s",
            {
                "p50": quantile(0.5, "turngate_request_seconds"),
                "p99": quantile(0.99, "turngate_request_seconds"),
            },
        ),
        Chart(
            "Time to first token",
            "Streamed turns: until the first event leaves the gateway.",
            "s",
            {
                "p50": quantile(0.5, "turngate_first_token_seconds"),
                "p99": quantile(0.99, "turngate_first_token_seconds"),
            },
        ),
        Chart(
            "Tokens",
            "Prompt, prefix-cached and sampled tokens per second.",
            "none",
            {
                "prompt": rate("turngate_prompt_tokens_total"),
                "cached": rate("turngate_cached_tokens_total"),
                "sampled": rate("turngate_output_tokens_total"),
            },
        ),
        Chart(
            "Turns",
            "Recorded turns per second by kind.",
            "reqps",
            {"{{kind}}": rate("turngate_turns_total", by="kind")},
        ),
        Chart(
            "Gateway processes",
            "Workers that take calls, over all gateways, and those that ended by themselves in five minutes.",
            "none",
            {
                "serving": "sum(turngate_workers)",
                "restarted": "sum(increase(turngate_worker_restarts_total[5m]))",
            },
        ),
        Chart(
            "Memory of histories",
            "What the gateways remember of open episodes; more than the setting allows is forgotten.",
            "bytes",
            {"{{instance}}": "max by (instance) (turngate_history_bytes)"},
        ),
        Chart(
            "Turns read again",
            "Turns per second that a gateway read from Redis, because another took them or it had forgotten them.",
            "none",
            {"turns": rate("turngate_history_turns_read_total")},
        ),
    ),
)
