"""The result of the demo as one object, for a table and for `--output json`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from deploy.demo.history import History, Success
from deploy.demo.observer import Observer, quantile
from deploy.demo.traffic import Traffic
from deploy.gateway_api.policy import Policy


@dataclass(frozen=True, slots=True)
class Best:
    """The policy with the best held-out success, exported from the stack."""

    version: int
    mean_reward: float
    episodes: int
    directory: str

    def __str__(self) -> str:
        return (
            f"v{self.version}, mean reward {self.mean_reward:g} of {self.episodes} held-out episodes, "
            f"in {self.directory}"
        )

    @classmethod
    def of(cls, policy: Policy, directory: Path) -> "Best":
        assert policy.evaluation is not None, "the best was evaluated"
        evaluation = policy.evaluation
        return cls(
            policy.version, round(evaluation.mean_reward, 4), evaluation.episodes, str(directory)
        )


@dataclass(frozen=True, slots=True)
class Summary:
    success_before: float
    success_after: float
    ci_before: tuple[float, float]
    ci_after: tuple[float, float]
    heldout_tasks: int
    policy_versions: int
    swaps: int
    requests: int
    requests_failed: int
    episodes_opened: int
    dispositions: dict[str, int]
    generated_tokens: int
    trained_tokens: int
    median_staleness: float
    max_staleness: float
    swap_gap_ms_p50: float
    swap_gap_ms_p99: float
    wall_seconds: float
    curve_png: str
    best: Best

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_table(self) -> Table:
        table = Table(title="turngate demo", show_header=False, title_justify="left")
        for name in asdict(self):
            table.add_row(name, str(getattr(self, name)))
        return table


def summarize(
    history: History,
    traffic: Traffic,
    observer: Observer,
    *,
    wall_seconds: float,
    curve: Path,
    best: Best,
) -> Summary:
    before, after = Success.of(history.before), Success.of(history.after)
    seen = observer.latest
    return Summary(
        success_before=round(before.rate, 4),
        success_after=round(after.rate, 4),
        ci_before=rounded(before.interval),
        ci_after=rounded(after.interval),
        heldout_tasks=after.episodes,
        policy_versions=len(traffic.served_versions),
        swaps=len(observer.gaps),
        requests=traffic.requests,
        requests_failed=traffic.requests_failed,
        episodes_opened=int(seen.total("turngate_episodes_opened_total")),
        dispositions=seen.dispositions,
        generated_tokens=history.generated_tokens,
        trained_tokens=int(seen.total("turngate_training_tokens_total")),
        median_staleness=seen.quantile("turngate_training_staleness", 0.5),
        max_staleness=seen.quantile("turngate_training_staleness", 1.0),
        swap_gap_ms_p50=round(quantile(observer.gaps, 0.5) * 1000, 1),
        swap_gap_ms_p99=round(quantile(observer.gaps, 0.99) * 1000, 1),
        wall_seconds=round(wall_seconds, 1),
        curve_png=str(curve),
        best=best,
    )


def rounded(interval: tuple[float, float]) -> tuple[float, float]:
    return round(interval[0], 4), round(interval[1], 4)
