"""Processes that outlive a killed supervisor."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.data_directory import read_json
from deploy.stack.orphans import find_orphans, stop_orphans
from deploy.stack.state import State
from tests.deploy.stage import ends


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """The record of a supervisor that was killed while two children ran."""
    file = tmp_path / "state.json"
    command = [sys.executable, "-m", "tests.deploy.killed_supervisor", str(tmp_path), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "ready\n"
        supervisor.kill()
    state = State.parse(read_json(file))
    yield state
    stop_orphans(find_orphans(state.content), grace_seconds=0.3)


def test_children_hear_of_their_supervisors_death(state: State) -> None:
    """A child that listens to SIGTERM ends by itself, without anybody's help."""
    polite = next(process for process in state.processes if process.name == "polite")

    assert ends(polite.pid)


def test_the_next_start_finds_and_ends_what_is_left(state: State, tmp_path: Path) -> None:
    """A child deaf to SIGTERM is killed, and what it had started with it."""
    grandchild = int((tmp_path / "grandchild").read_text())
    deaf = next(process for process in state.processes if process.name == "deaf")
    left = find_orphans(state.content)
    stop_orphans(left, grace_seconds=0.3)

    assert deaf.pid in {process.pid for process in left}
    assert find_orphans(state.content) == []
    assert ends(grandchild)


def test_a_stranger_with_a_recorded_pid_is_left_alone() -> None:
    """A pid that the kernel has given to another process is no orphan of ours."""
    recycled = {"pid": os.getpid(), "started": psutil.Process().create_time() - 3600}

    assert find_orphans({"processes": [recycled]}) == []
