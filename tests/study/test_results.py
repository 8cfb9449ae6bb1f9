"""The study's table and picture say what its runs say."""

from pathlib import Path

import pytest

from tests.study.__main__ import RESULTS, publish
from tests.study.cells import ALGORITHMS, STALENESS, Recipe, Run, runs
from tests.study.interval import Interval
from tests.study.outcome import Outcome, Outcomes
from tests.study.picture import draw
from tests.study.table import by_cell, differences, document

RECIPE = Recipe(updates=4, evaluate_every=2)


def outcomes() -> list[Outcome]:
    """Three seeds of every cell; M2PO learns more than the others, and nothing at staleness 64."""
    return [
        Outcome(
            run=Run(algorithm, staleness, seed),
            recipe=RECIPE,
            success=[0.3, 0.5 + 0.01 * seed, 0.8 + 0.1 * seed]
            if (algorithm, staleness) != ("M2PO", 64)
            else [0.3, 0.4, 0.2],
            trained=4,
            effective_sample_size=0.5,
            silent=0.25,
            seconds=1.0,
        )
        for seed in range(3)
        for staleness in STALENESS
        for algorithm in ALGORITHMS
    ]


def test_an_interval_is_students() -> None:
    """1 to 5 have the mean 3, the deviation sqrt(2.5) and, with t = 2.776, 3 ± 1.963."""
    interval = Interval.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert interval.mean == 3
    assert interval.margin == pytest.approx(2.776 * (2.5 / 5) ** 0.5)


def test_success_over_training_is_the_area_under_the_curve() -> None:
    """0.3, 0.5, 0.8 at equal distances enclose 0.4 and 0.65 on average."""
    assert outcomes()[0].mean == pytest.approx((0.4 + 0.65) / 2)


def test_the_table_has_every_cell_with_its_interval_and_counts_what_collapsed() -> None:
    """0.8, 0.9 and 1.0 are 90 ± 24.8 %; three runs of one cell ended below where they began."""
    text = document(outcomes(), RECIPE, command="make study", picture="p.svg")
    end = text.split("## Held-out success at the end, %")[1].split("##")[0]
    assert "| IcePop | 90.0 ± 24.8 | 90.0 ± 24.8 | 90.0 ± 24.8 | 90.0 ± 24.8 |" in end
    assert "| M2PO | 90.0 ± 24.8 | 90.0 ± 24.8 | 90.0 ± 24.8 | 20.0 ± 0.0 |" in end
    collapsed = text.split("## Runs that ended below where they began")[1]
    assert "| M2PO | 0 of 3 | 0 of 3 | 0 of 3 | 3 of 3 |" in collapsed
    assert "| decoupled | 0.50, 25.0 %, 4 |" in text


def test_differences_are_between_runs_of_a_seed_and_bold_where_they_are_not_chance() -> None:
    """M2PO loses 20 to 26 points to PPO at staleness 64 and nothing elsewhere."""
    lines = differences(by_cell(outcomes())).splitlines()
    assert lines[-1] == "| M2PO | 0.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 | **-23.0 ± 7.5** |"


def test_the_picture_is_the_same_for_the_same_runs_and_names_every_algorithm(
    tmp_path: Path,
) -> None:
    """A new picture in a commit means new numbers."""
    files = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for file in files:
        draw(outcomes(), file)
    first, second = (file.read_text() for file in files)
    assert first == second
    assert all(name in first for name in ALGORITHMS)


def test_the_table_that_is_quoted_is_that_of_its_runs(tmp_path: Path) -> None:
    """Five seeds of every cell are in the repository, and nothing was edited by hand."""
    recipe = Recipe()
    kept = Outcomes(RESULTS / "runs.jsonl")
    publish(kept.of(recipe), recipe, tmp_path)
    assert kept.missing(runs(range(5)), recipe) == []
    assert (tmp_path / "README.md").read_text() == (RESULTS / "README.md").read_text()
