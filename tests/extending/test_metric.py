"""The metric door: a number of a step, in one record with its panel, reaches Prometheus, the writers and the dashboard."""

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.observability.grafana.dashboard import render
from deploy.observability.grafana.rows.training import training_row
from tests.trainer.bandit import is_even
from tests.trainer.stand import GROUPS, Place, Stand
from trainer.telemetry.step_metrics import STEP_METRICS, Panel, StepMetric

GROUPS_TRAINED = StepMetric(
    "groups",
    lambda batch, _: len(batch.group_ids),
    "Groups in the last batch",
    Panel("Groups per batch"),
)


class Recorder:
    """A metric writer that keeps what it is given."""

    def __init__(self) -> None:
        self.values: list[Mapping[str, float]] = []

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.values.append(values)

    def close(self) -> None:
        pass


def test_a_metric_and_its_panel_are_one_record(
    redis_url: str, model_dir: Path, tmp_path: Path
) -> None:
    """After one batch the gauge, the writers and the panel's query have the new number beside all others."""
    metrics = (*STEP_METRICS, GROUPS_TRAINED)
    place = Place(redis_url, tmp_path, model_dir, step_metrics=metrics)
    recorder = Recorder()
    with Stand(place, lambda token: float(is_even(token))) as stand:
        stand.writers.append(recorder)
        stand.train(rounds=1)
        assert stand.metric("turngate_training_groups") == GROUPS

    (values,) = recorder.values
    assert values["groups"] == GROUPS
    assert {"loss", "reward_mean"} <= values.keys()
    panels = {
        panel["title"]: panel for panel in json.loads(render([training_row(metrics)]))["panels"]
    }
    (target,) = panels["Groups per batch"]["targets"]
    assert target["expr"] == "max(turngate_training_groups)"
    assert "Loss" in panels
