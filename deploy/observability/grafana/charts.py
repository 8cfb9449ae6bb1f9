"""What the dashboard shows: every panel as a row of a table, with its unit and its queries.

Numbers that Redis holds once (episodes, backlog, policy version) are exported by every gateway, so their
queries take `max`, never `sum`; numbers that a process counts itself are summed over processes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.telemetry.step_metrics import STEP_METRICS, StepMetric

WINDOW = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Chart:
    """One panel: what it shows, in which unit, by which queries (legend -> expression)."""

    title: str
    explanation: str
    unit: str
    queries: dict[str, str]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    charts: tuple[Chart, ...]


def quantile(level: float, histogram: str, *, by: str = "") -> str:
    """The `level` quantile of a histogram over the scrape window, optionally kept apart by a label."""
    labels = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({level}, sum by ({labels}) (rate({histogram}_bucket[{WINDOW}])))"


def rate(counter: str, *, by: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({counter}[{WINDOW}]))"


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

SECTIONS = (
    Section(
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
        ),
    ),
    Section(
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
        ),
    ),
    Section(
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
    ),
    Section(
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
    ),
    Section(
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
            *step_charts(STEP_METRICS),
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
    ),
    Section(
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
    ),
)
