"""`python -m trainer` as an operator meets it: a process with settings, a ready file, metrics and signals."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from math import log
from pathlib import Path
from uuid import uuid4

import pytest

from rollout.episode import encode_turn
from rollout.header import OpenEpisode
from rollout.ledger import Ledger
from rollout.policies import verify
from rollout.reward import Reward
from rollout.store import Store
from tests.trainer.bandit import VOCABULARY, one_token_turn
from trainer.settings import SettingsError, load_settings

GROUPS, GROUP_SIZE = 2, 4
START_SECONDS = 120.0


@pytest.fixture
def environment(redis_url: str, model_dir: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "TURNGATE_REDIS_URL": redis_url,
        "TURNGATE_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
        "TURNGATE_MODEL_DIR": str(model_dir),
        "TURNGATE_WEIGHTS_DIR": str(tmp_path / "weights"),
        "TURNGATE_PROJECT": f"test-{uuid4().hex[:8]}",
        "TURNGATE_TRAINER_METRICS_PORT": "0",
        "TURNGATE_TRAINER_READY_FILE": str(tmp_path / "ready.json"),
        "TURNGATE_TRAINER_CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
        "TURNGATE_TRAINER_GROUPS_PER_BATCH": str(GROUPS),
        "TURNGATE_TRAINER_GROUP_SIZE": str(GROUP_SIZE),
        "TURNGATE_TRAINER_LEASE_SECONDS": "2",
    }


@pytest.fixture
async def store(environment: dict[str, str]) -> AsyncIterator[Store]:
    store = Store.connect(
        environment["TURNGATE_REDIS_URL"], project=environment["TURNGATE_PROJECT"]
    )
    yield store
    await store.close()


@contextmanager
def running(environment: dict[str, str], *launcher: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, *(launcher or ("-m", "trainer"))]
    process = subprocess.Popen(
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], event: str) -> str:
    """The next log line of the trainer about this event."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if re.search(rf"INFO trainer\S* {event}( |$)", line):
            return line
    raise AssertionError("".join(seen))


async def play(store: Store, groups: int) -> None:
    """Groups of one-token episodes, half of each rewarded, as if a uniform policy had sampled them."""
    for _ in range(groups):
        group = f"grp_{uuid4().hex}"
        for index in range(GROUP_SIZE):
            episode = f"ep_{uuid4().hex}"
            await store.open(OpenEpisode(episode, group_id=group, group_size=GROUP_SIZE))
            turn = one_token_turn(f"turn_{episode}", 100 + index, -log(VOCABULARY), 0)
            await store.commit(episode, turn, encoded=encode_turn(turn))
            await store.reward(episode, Reward(index % 2), complete=True)


async def test_it_trains_and_ends_on_sigterm(environment: dict[str, str], store: Store) -> None:
    """Ready, one step, metrics; then SIGTERM: checkpoint, claims given back, exit code 0."""
    with running(environment) as process:
        wait_for(process, "ready")
        ready = json.loads(Path(environment["TURNGATE_TRAINER_READY_FILE"]).read_text())
        await play(store, GROUPS)
        assert "version=1" in wait_for(process, "step")
        url = f"http://{ready['host']}:{ready['metrics_port']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as reply:
            assert "turngate_training_steps_total 1.0" in reply.read().decode()
        await play(store, GROUPS - 1)
        process.send_signal(signal.SIGTERM)
        wait_for(process, "stopped")
        assert process.wait(timeout=30) == 0
    totals = await store.totals()
    assert totals.trained == GROUPS * GROUP_SIZE
    assert totals.groups == {"ready": GROUPS - 1, "claimed": 0}
    assert [p.name for p in Path(environment["TURNGATE_TRAINER_CHECKPOINT_DIR"]).iterdir()] == [
        "step00000001"
    ]


async def test_it_says_what_it_did(environment: dict[str, str], store: Store) -> None:
    """Training state, admission limit, step and policies are in the store and the ledger."""
    with running(environment) as process:
        wait_for(process, "ready")
        await play(store, 2 * GROUPS)
        wait_for(process, "step")
        wait_for(process, "step")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    training = await store.training()
    assert training["step"] == training["version"] == "2"
    assert int(training["max_live_episodes"]) == 5 * GROUPS * GROUP_SIZE
    assert json.loads(training["metrics"])["reward_mean"] == 0.5
    ledger = await Ledger.open(environment["TURNGATE_DATABASE_URL"])
    project = environment["TURNGATE_PROJECT"]
    steps, policies = await ledger.training_steps(project), await ledger.policies(project)
    await ledger.close()
    assert [(step.step, step.version) for step in steps] == [(1, 1), (2, 2)]
    assert [(policy.version, policy.parent) for policy in policies] == [(0, None), (1, 0), (2, 1)]


async def test_killed_at_any_moment_it_goes_on(environment: dict[str, str], store: Store) -> None:
    """SIGKILL after a step, with a full queue: the next process trains the rest, and nothing twice."""
    with running(environment) as process:
        wait_for(process, "ready")
        await play(store, 4 * GROUPS)
        wait_for(process, "step")
        process.kill()
        process.wait()
    with running(environment) as process:
        wait_for(process, "ready")
        while (await store.totals()).trained < 4 * GROUPS * GROUP_SIZE:
            wait_for(process, "step")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    recorded = await store.policy()
    assert recorded is not None
    verify(recorded)
    totals = await store.totals()
    assert totals.trained == totals.opened == 4 * GROUPS * GROUP_SIZE
    assert totals.groups == {"ready": 0, "claimed": 0}


async def test_two_ranks_train_one_policy(environment: dict[str, str], store: Store) -> None:
    """Under torchrun with two processes there is one policy, one ready file, and SIGTERM ends both."""
    launcher = (
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "trainer",
    )
    with running(environment, *launcher) as process:
        wait_for(process, "ready")
        await play(store, GROUPS)
        assert "version=1" in wait_for(process, "step")
        process.send_signal(signal.SIGTERM)
        wait_for(process, "stopped")
        process.wait(timeout=60)
    assert (await store.totals()).trained == GROUPS * GROUP_SIZE
    weights = Path(environment["TURNGATE_WEIGHTS_DIR"])
    assert sorted(p.name for p in weights.glob("v*")) == ["v00000000", "v00000001"]


def test_an_unknown_setting_is_refused_with_the_remedy() -> None:
    """A misspelt name stops the start and names the setting that was meant."""
    with pytest.raises(SettingsError, match="did you mean TURNGATE_TRAINER_LEARNING_RATE"):
        load_settings({"TURNGATE_TRAINER_LEARNING_RAT": "1e-3"})


async def test_a_broken_model_is_refused_before_anything_is_touched(
    environment: dict[str, str], store: Store, tmp_path: Path
) -> None:
    """A model directory without weights ends the process with code 2 and records no policy."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with running(environment | {"TURNGATE_MODEL_DIR": str(empty)}) as process:
        assert process.wait(timeout=START_SECONDS) == 2
        assert process.stderr is not None
        assert "config.json" in process.stderr.read()
    assert await store.policy() is None
