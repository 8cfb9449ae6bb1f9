"""The simulator against what can be worked out by hand, and against the rules of the store."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.profiles import examples
from trainer.advice.simulation import LogNormal, Workload, simulate

FIXED = Workload(
    turns=LogNormal(3),
    turn_seconds=LogNormal(1.0),
    tool_seconds=LogNormal(0.5),
    engine_slots=1000,
    group_size=2,
    groups_per_batch=4,
    step_seconds=2.0,
    swap_seconds=0.25,
)


def test_synchronous_training_takes_episode_step_and_swap_in_turn() -> None:
    """Without variance a batch takes 3 x 1.5 s of play, 2 s of training and 0.25 s of swapping."""
    outcome = simulate(FIXED, max_staleness=0, steps=100)

    assert outcome.episodes_per_second == pytest.approx(8 / (4.5 + 2 + 0.25))
    assert (outcome.staleness_max, outcome.discarded_fraction) == (0, 0.0)
    assert outcome.trainer_busy == pytest.approx(2 / 6.75)


def test_enough_episodes_in_flight_leave_the_trainer_as_the_bottleneck() -> None:
    """When play is faster than training, a batch takes as long as its step and its swap."""
    outcome = simulate(FIXED, max_staleness=4, steps=100)

    assert outcome.episodes_per_second == pytest.approx(8 / 2.25, rel=0.02)


def test_few_engines_are_the_bottleneck() -> None:
    """Two slots sample two turns a second, so a batch of 24 turns takes 12 seconds."""
    narrow = replace(FIXED, engine_slots=2, swap_seconds=0.0)

    outcome = simulate(narrow, max_staleness=4, steps=100)

    assert outcome.episodes_per_second == pytest.approx(8 / 12, rel=0.03)
    assert outcome.engines_busy == pytest.approx(1.0, rel=0.03)


def test_long_tails_are_what_asynchrony_is_for() -> None:
    """With a log-normal tool latency of sigma 1, one version of staleness more than doubles the throughput."""
    tailed = Workload(turns=LogNormal(1), tool_seconds=LogNormal(10, 1.0), engine_slots=1000)

    synchronous, asynchronous = (simulate(tailed, max_staleness=m, steps=100) for m in (0, 1))

    assert asynchronous.episodes_per_second > 2 * synchronous.episodes_per_second


sigmas = st.floats(0, 1.5)
workloads = st.builds(
    Workload,
    turns=st.builds(LogNormal, st.just(3.0), sigmas),
    tool_seconds=st.builds(LogNormal, st.just(1.0), sigmas),
    engine_slots=st.integers(1, 30),
    group_size=st.integers(1, 4),
    groups_per_batch=st.just(2),
    concurrent_groups=st.integers(0, 6),
)


@examples(0.125)
@given(workloads, st.integers(0, 5))
def test_nothing_trained_is_too_stale(workload: Workload, max_staleness: int) -> None:
    """Whatever the distributions, a trained group is within the limit and nobody is busy more than all the time."""
    outcome = simulate(workload, max_staleness=max_staleness, steps=20)

    assert 0 <= outcome.staleness_mean <= outcome.staleness_max <= max_staleness
    assert 0 < outcome.trainer_busy <= 1
    assert 0 < outcome.engines_busy <= 1.05  # a turn counts when it ends


def test_the_command_compares_limits_with_synchronous() -> None:
    """Every limit asked for is a row beside synchronous training, and the same seed gives the same rows."""
    command = [sys.executable, "-m", "deploy.cli", "trainer", "simulate", "--max-staleness", "2"]
    command += ["--steps", "20", "--tool-sigma", "1", "--output", "json"]

    first, again = (subprocess.check_output(command) for _ in range(2))

    rows = json.loads(first)
    assert first == again
    assert [row["max_staleness"] for row in rows] == [0, 2]
    assert rows[0]["speed_up"] == 1.0
    assert rows[1]["speed_up"] == rows[1]["episodes_per_second"] / rows[0]["episodes_per_second"]
