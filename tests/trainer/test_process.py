"""`python -m trainer` as an operator meets it: a process with settings, a ready file, metrics and signals."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from rollout.ledger.ledger import Ledger
from rollout.settings import SettingsError
from rollout.store.store import Store
from tests.trainer.bandit import play_uniformly
from trainer.async_bridge import AsyncBridge
from trainer.job import listening
from trainer.learner_settings import optimizer
from trainer.settings import Settings

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
def bridge() -> Iterator[AsyncBridge]:
    with AsyncBridge.open() as bridge:
        yield bridge


@pytest.fixture
def store(environment: dict[str, str], bridge: AsyncBridge) -> Iterator[Store]:
    store = Store.connect(
        environment["TURNGATE_REDIS_URL"], project=environment["TURNGATE_PROJECT"]
    )
    yield store
    bridge.call(store.close)


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
    await play_uniformly(store, groups=groups, group_size=GROUP_SIZE)


def test_it_trains_reports_and_ends(
    environment: dict[str, str], store: Store, bridge: AsyncBridge
) -> None:
    """Ready, two steps, the first traced on SIGUSR1, metrics; SIGTERM: checkpoint, claims released, code 0; store and ledger record it."""
    with running(environment) as process:
        wait_for(process, "ready")
        ready = json.loads(Path(environment["TURNGATE_TRAINER_READY_FILE"]).read_text())
        process.send_signal(signal.SIGUSR1)
        bridge.call(play, store, 2 * GROUPS)
        traced = wait_for(process, "traced")
        assert "version=1" in wait_for(process, "step")
        assert "version=2" in wait_for(process, "step")
        url = f"http://{ready['host']}:{ready['metrics_port']}/metrics"
        with urllib.request.urlopen(url, timeout=10) as reply:
            assert "turngate_training_steps_total 2.0" in reply.read().decode()
        bridge.call(play, store, GROUPS - 1)
        process.send_signal(signal.SIGTERM)
        wait_for(process, "stopped")
        assert process.wait(timeout=60) == 0
    totals = bridge.call(store.totals)
    assert totals.trained == 2 * GROUPS * GROUP_SIZE
    assert totals.groups == {"ready": GROUPS - 1, "claimed": 0}
    checkpoints = Path(environment["TURNGATE_TRAINER_CHECKPOINT_DIR"])
    assert sorted(path.name for path in checkpoints.glob("v*")) == ["v00000001", "v00000002"]
    (trace,) = (checkpoints / "traces").iterdir()
    assert str(trace) in traced
    training = bridge.call(store.training)
    assert training["step"] == training["version"] == "2"
    assert int(training["max_live_episodes_per_key"]) == 5 * GROUPS * GROUP_SIZE
    assert int(training["max_live_episodes"]) == 2 * 5 * GROUPS * GROUP_SIZE
    assert float(training["reward_mean"]) == 0.5
    ledger = bridge.call(Ledger.open, environment["TURNGATE_DATABASE_URL"])
    project = environment["TURNGATE_PROJECT"]
    steps = bridge.call(ledger.training_steps, project)
    policies = bridge.call(ledger.policies, project)
    bridge.call(ledger.close)
    assert [(step.step, step.version) for step in steps] == [(1, 1), (2, 2)]
    assert [(policy.version, policy.parent) for policy in policies] == [(0, None), (1, 0), (2, 1)]


def test_two_ranks_train_one_policy(
    environment: dict[str, str], store: Store, bridge: AsyncBridge
) -> None:
    """Under torchrun with two processes there is one policy, one ready file, and SIGTERM ends both.

    With an algorithm that whitens over the whole batch and takes a KL to a reference from its rewards.
    """
    environment |= {"TURNGATE_TRAINER_ALGORITHM": "reinforce_plus_plus"}
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
        bridge.call(play, store, GROUPS)
        assert "version=1" in wait_for(process, "step")
        process.send_signal(signal.SIGTERM)
        wait_for(process, "stopped")
        process.wait(timeout=60)
    assert bridge.call(store.totals).trained == GROUPS * GROUP_SIZE
    weights = Path(environment["TURNGATE_WEIGHTS_DIR"])
    assert sorted(p.name for p in weights.glob("v*")) == ["v00000000", "v00000001"]


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """The port is in use: the error names the setting and the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(
            TURNGATE_REDIS_URL="redis://127.0.0.1",
            TURNGATE_MODEL_DIR=tmp_path,
            metrics_port=taken.getsockname()[1],
        )
        with (
            pytest.raises(SettingsError, match=r"METRICS_PORT.* choose another port"),
            listening(settings, CollectorRegistry()),
        ):
            pass


def test_an_unknown_setting_is_refused_with_the_remedy() -> None:
    """A misspelt name stops the start and names the setting that was meant."""
    with pytest.raises(SettingsError, match="did you mean TURNGATE_TRAINER_LEARNING_RATE"):
        Settings.load({"TURNGATE_TRAINER_LEARNING_RAT": "1e-3"})


def test_bounds_that_drop_every_token_are_refused(tmp_path: Path) -> None:
    """An upper bound of the importance weight below the lower one stops the start and names the setting."""
    bounds = {"correction_low": 2.0, "correction_high": 1.0}
    with pytest.raises(ValidationError, match=r"correction_high(.|\n)*no token would train"):
        Settings(TURNGATE_REDIS_URL="redis://127.0.0.1", TURNGATE_MODEL_DIR=tmp_path, **bounds)


@pytest.mark.parametrize(
    ("chosen", "named", "reason"),
    [
        ({"schedule": "cosine"}, "decay_steps", "above the 0 steps of the warm-up"),
        (
            {"schedule": "linear", "warmup_steps": 9, "decay_steps": 9},
            "decay_steps",
            "above the 9 steps",
        ),
        ({"decay_steps": 9}, "decay_steps", "set schedule to linear or cosine"),
        (
            {"minimum_learning_rate_ratio": 0.1},
            "minimum_learning_rate_ratio",
            "set schedule to linear or cosine",
        ),
        ({"schedule": "inverse_sqrt"}, "schedule", "'constant', 'linear' or 'cosine'"),
    ],
)
def test_a_schedule_that_cannot_run_is_refused(
    tmp_path: Path, chosen: dict[str, object], named: str, reason: str
) -> None:
    """A schedule without an end, with one inside the warm-up, or with unused numbers: the error names the setting."""
    with pytest.raises(ValidationError) as refused:
        Settings(TURNGATE_REDIS_URL="redis://127.0.0.1", TURNGATE_MODEL_DIR=tmp_path, **chosen)
    (error,) = refused.value.errors()
    assert error["loc"] == (named,)
    assert reason in error["msg"]


@pytest.mark.parametrize(
    ("max_staleness", "share", "limits"),
    [(4, 0.5, (40, 80)), (0, 0.5, (8, 16)), (4, 1.0, (40, 40)), (1, 0.25, (16, 64))],
    ids=["usual", "synchronous", "all", "quarter"],
)
def test_one_key_may_fill_all_that_stays_fresh(
    tmp_path: Path, max_staleness: int, share: float, limits: tuple[int, int]
) -> None:
    """A key's share is as much as trains before it is stale, so a key that is alone trains at full speed."""
    settings = Settings(
        TURNGATE_REDIS_URL="redis://127.0.0.1",
        TURNGATE_MODEL_DIR=tmp_path,
        groups_per_batch=2,
        group_size=4,
        max_staleness=max_staleness,
        key_share=share,
    )
    assert (settings.max_live_episodes_per_key, settings.max_live_episodes) == limits


def test_a_group_that_could_not_open_is_refused(tmp_path: Path) -> None:
    """A trainer that expects larger groups than the gateway admits does not start; the error names both settings."""
    with pytest.raises(ValidationError, match=r"group_size(.|\n)*TURNGATE_MAX_GROUP_SIZE to 65"):
        Settings(TURNGATE_REDIS_URL="redis://127.0.0.1", TURNGATE_MODEL_DIR=tmp_path, group_size=65)


def test_a_schedule_reaches_the_optimizer(tmp_path: Path) -> None:
    """Each of its settings is the optimizer's."""
    settings = Settings(
        TURNGATE_REDIS_URL="redis://127.0.0.1",
        TURNGATE_MODEL_DIR=tmp_path,
        schedule="cosine",
        warmup_steps=2,
        decay_steps=9,
        minimum_learning_rate_ratio=0.1,
        epsilon=1e-6,
    )
    made = optimizer(settings)
    assert (made.schedule, made.warmup_steps, made.decay_steps) == ("cosine", 2, 9)
    assert (made.minimum_ratio, made.epsilon) == (0.1, 1e-6)


def test_a_broken_model_is_refused_before_anything_is_touched(
    environment: dict[str, str], store: Store, bridge: AsyncBridge, tmp_path: Path
) -> None:
    """A model directory without weights ends the process with code 2 and records no policy."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with running(environment | {"TURNGATE_MODEL_DIR": str(empty)}) as process:
        assert process.wait(timeout=START_SECONDS) == 2
        assert process.stderr is not None
        assert "config.json" in process.stderr.read()
    assert bridge.call(store.policy) is None
