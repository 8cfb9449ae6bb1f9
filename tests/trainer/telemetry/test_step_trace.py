"""A requested trace, and no trace without a request."""

import json
from pathlib import Path

from tests.trainer.bandit import is_even
from tests.trainer.stand import Place, Stand


def test_the_step_that_was_asked_for_is_traced(
    redis_url: str, model_dir: Path, tmp_path: Path
) -> None:
    """One Chrome trace, of that step alone, with its matrix products and its optimizer."""
    with Stand(Place(redis_url, tmp_path, model_dir), lambda t: float(is_even(t))) as stand:
        stand.train(rounds=1)
        stand.trace.request()
        stand.train(rounds=2)
    traces = list((tmp_path / "traces").iterdir())
    assert [path.name for path in traces] == ["step00000002.rank0.json"]
    operations = {event.get("name") for event in json.loads(traces[0].read_text())["traceEvents"]}
    assert {"aten::mm", "aten::_fused_adamw_"} <= operations


def test_a_trace_that_cannot_be_written_costs_no_step(
    redis_url: str, model_dir: Path, tmp_path: Path
) -> None:
    """If no file can be made, the step is still trained and published."""
    (tmp_path / "traces").write_text("")
    with Stand(Place(redis_url, tmp_path, model_dir), lambda t: float(is_even(t))) as stand:
        stand.trace.request()
        assert stand.train(rounds=1).version == 1
