"""What the demo reports, from synthetic episodes: intervals, curve, summary."""

import io
import struct
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.samples import Sample
from rich.console import Console

from deploy.demo.curve import draw_curve
from deploy.demo.harness import Played
from deploy.demo.history import History, Success
from deploy.demo.observer import Observation, Observer, quantile
from deploy.demo.summary import Best, summarize
from deploy.demo.traffic import Traffic

# As the issue names them: other programs read these.
SUMMARY_KEYS = [
    "success_before",
    "success_after",
    "ci_before",
    "ci_after",
    "heldout_tasks",
    "policy_versions",
    "swaps",
    "requests",
    "requests_failed",
    "episodes_opened",
    "dispositions",
    "generated_tokens",
    "trained_tokens",
    "median_staleness",
    "max_staleness",
    "swap_gap_ms_p50",
    "swap_gap_ms_p99",
    "wall_seconds",
    "curve_png",
    "best",
]


@pytest.fixture
def history() -> History:
    random = Random(0)
    before = [Played(float(n < 60), 3, 22, 0) for n in range(200)]
    after = [Played(float(n < 190), 4, 30, 20) for n in range(200)]
    trained = [
        Played(float(random.random() < 0.3 + version / 30), 4, 20 + version // 2, version)
        for version in range(20)
        for _ in range(64)
    ]
    return History(before, after, trained)


@pytest.mark.parametrize(
    ("wins", "episodes", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (190, 200, 0.9104, 0.9726),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_interval_is_wilsons(wins: int, episodes: int, low: float, high: float) -> None:
    """Published values of the Wilson score interval, to four digits."""
    assert Success(wins, episodes).interval == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_rate(counts: tuple[int, int]) -> None:
    """The interval lies within [0, 1] and around the rate it belongs to."""
    success = Success(*counts)
    low, high = success.interval
    assert 0 <= low <= success.rate + 1e-12
    assert success.rate - 1e-12 <= high <= 1


def test_windows_pool_neighboring_versions(history: History) -> None:
    """A version's window is itself and the versions next to it, and the first has only one neighbor."""
    windows = history.windows()

    assert [len(windows[version]) for version in (0, 1, 19)] == [128, 192, 128]
    assert {played.version for played in windows[7]} == {6, 7, 8}


def test_curve_is_a_picture(history: History, tmp_path: Path) -> None:
    """The PNG is large enough to read and not blank."""
    file = tmp_path / "curve.png"
    draw_curve(history, file)

    content = file.read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content.startswith(b"\x89PNG")
    assert width >= 1000
    assert height >= 700
    assert len(content) > 30_000


def test_summary_has_the_keys_that_others_read(history: History) -> None:
    """The object has the issue's keys in its order, success from the held-out episodes and tokens from all."""
    traffic = Traffic(connections=1)
    traffic.served_versions.update(range(21))

    summary = summarize(
        history,
        traffic,
        Observer([]),
        wall_seconds=1.0,
        curve=Path("c.png"),
        best=Best(version=20, mean_reward=0.95, episodes=200, directory="/best"),
    )
    people = io.StringIO()
    Console(file=people, width=200).print(summary.as_table())
    content = summary.as_json()

    assert "v20, mean reward 0.95 of 200 held-out episodes, in /best" in people.getvalue()
    assert list(content) == SUMMARY_KEYS
    assert (content["success_before"], content["success_after"]) == (0.3, 0.95)
    assert content["policy_versions"] == 21
    assert content["best"]["version"] == 20
    assert content["generated_tokens"] == sum(played.output_tokens for played in history.everything)


def test_staleness_is_read_off_integer_buckets() -> None:
    """Half of the groups at most 1 version stale and one of them 3: the median is 1 and the maximum 3."""
    name = "turngate_training_staleness"
    counts = {"0.0": 4, "1.0": 8, "2.0": 9, "3.0": 10, "4.0": 10, "+Inf": 10}
    buckets = [Sample(f"{name}_bucket", {"le": le}, count) for le, count in counts.items()]
    seen = Observation([*buckets, Sample(f"{name}_count", {}, 10)])

    assert seen.quantile(name, 0.5) == 1
    assert seen.quantile(name, 1.0) == 3
    assert Observation().quantile(name, 0.5) == 0


def test_quantile_is_the_nearest_rank() -> None:
    """The 99th of a hundred is the 99th, and of two values the larger."""
    assert quantile(range(1, 101), 0.99) == 99
    assert quantile([1.0, 9.0], 0.99) == 9
    assert quantile([], 0.5) == 0
