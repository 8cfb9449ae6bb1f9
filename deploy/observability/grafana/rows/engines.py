"""The engines, as the gateways and as SGLang see them."""

from deploy.observability.grafana.chart import Chart, PanelRow

ENGINES = PanelRow(
    "Engines",
    (
        Chart(
            "Engines up",
            "As the gateway sees them; a paused engine counts as up.",
            "none",
            {
                "{{engine}}": "min by (engine) (turngate_engine_up)",
                "store": "min(turngate_store_up)",
            },
        ),
        Chart(
            "Running turns",
            "Per engine, from the gateways and from SGLang itself.",
            "none",
            {
                "gateway {{engine}}": "sum by (engine) (turngate_engine_inflight)",
                "sglang {{instance}}": "sum by (instance) (sglang:num_running_reqs)",
                "queued {{instance}}": "sum by (instance) (sglang:num_queue_reqs)",
            },
        ),
        Chart(
            "Generation throughput",
            "Tokens per second as SGLang reports it.",
            "none",
            {"{{instance}}": "sum by (instance) (sglang:gen_throughput)"},
        ),
        Chart(
            "KV cache in use",
            "Share of the engine's token pool.",
            "percentunit",
            {"{{instance}}": "max by (instance) (sglang:token_usage)"},
        ),
    ),
)
