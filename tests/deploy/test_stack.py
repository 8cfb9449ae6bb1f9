"""`turngate up` as a user runs it: every process real, one episode taken from the first token to a trained policy."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from deploy.data_directory import DataDirectory

START_SECONDS = 240.0
TRAINING_SECONDS = 90.0
COMMAND = (sys.executable, "-m", "deploy.cli")
ONE_GROUP_A_STEP = ("--set", "trainer.groups_per_batch=1", "--set", "trainer.group_size=2")


@dataclass(frozen=True, slots=True)
class RunningStack:
    ready: dict[str, Any]
    process: subprocess.Popen[str]
    log: Path

    @property
    def root(self) -> str:
        return str(self.ready["base_url"]).removesuffix("/v1")

    @property
    def data_dir(self) -> str:
        return str(self.ready["data_dir"])

    def get(self, path: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.ready['admin_key']}"}
        reply = httpx.get(self.root + path, headers=headers, timeout=30)
        return dict(reply.raise_for_status().json())

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.ready['project_key']}"}
        reply = httpx.post(self.root + path, json=body, headers=headers, timeout=30)
        return dict(reply.raise_for_status().json())

    def processes(self) -> dict[str, dict[str, Any]]:
        status = turngate("status", "--data-dir", self.data_dir, "--output", "json")
        return {process["name"]: process for process in json.loads(status.stdout)["processes"]}


@pytest.fixture(scope="module")
def stack(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack with one engine, and a trainer that takes a step per group of two."""
    directory = tmp_path_factory.mktemp("stack")
    arguments = ["--model", str(model_dir), "--data-dir", str(directory / "data"), "--port", "0"]
    with started(directory / "up.log", "up", *arguments, *ONE_GROUP_A_STEP) as running:
        yield running


@contextmanager
def started(log: Path, *arguments: str) -> Iterator[RunningStack]:
    """Run a command from its one line of JSON until the block ends, then stop it as a service manager does."""
    command = [*COMMAND, *arguments, "--output", "json"]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            yield RunningStack(json.loads(line), process, log)
        finally:
            process.terminate()
            rest, _ = process.communicate(timeout=START_SECONDS)
    assert rest == ""
    assert process.returncode == 0, log.read_text()


def turngate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def play_group(stack: RunningStack) -> list[str]:
    """Two episodes of one task through the stock SDK, one of them rewarded; their ids."""
    ids = []
    group = {"group_id": f"grp_{uuid.uuid4().hex}", "group_size": 2}
    for reward in (0.0, 1.0):
        episode = stack.post("/v1/episodes", group)
        with openai.OpenAI(base_url=episode["base_url"], api_key=episode["api_key"]) as agent:
            reply = agent.chat.completions.create(
                model="policy", messages=[{"role": "user", "content": "pen"}], max_tokens=12
            )
        assert reply.usage is not None
        assert reply.usage.completion_tokens > 0
        stack.post(f"/v1/episodes/{episode['id']}/rewards", {"value": reward, "complete": True})
        ids.append(str(episode["id"]))
    return ids


def trained(stack: RunningStack, episode_id: str) -> dict[str, Any]:
    """The episode, once a policy was trained on it."""
    until(lambda: stack.get(f"/v1/episodes/{episode_id}")["status"] == "trained", TRAINING_SECONDS)
    return stack.get(f"/v1/episodes/{episode_id}")


@pytest.mark.engine
def test_one_line_of_json_says_all_that_an_agent_and_an_operator_need(stack: RunningStack) -> None:
    """The line names both keys, and every address in it answers."""
    keys = {"base_url", "admin_key", "project_key", "metrics_urls", "engines", "redis_url"}
    assert set(stack.ready) == keys | {"data_dir"}
    assert stack.ready["base_url"].startswith("http://127.0.0.1:")
    assert stack.ready["base_url"].endswith("/v1")
    assert len(stack.ready["admin_key"]) > 40
    assert stack.ready["project_key"].startswith("tg-")
    for url in stack.ready["metrics_urls"]:
        assert "turngate_" in httpx.get(url, timeout=30).text
    (engine,) = stack.ready["engines"]
    assert httpx.get(f"{engine}/health", timeout=30).is_success


@pytest.mark.engine
def test_a_rewarded_episode_becomes_a_policy_that_the_engine_serves(stack: RunningStack) -> None:
    """Both members of the group are trained, one up and one down, and the next turn is sampled by the new policy."""
    episodes = [trained(stack, episode_id) for episode_id in play_group(stack)]
    version = episodes[0]["policy_version"]
    drawn = [
        turngate("episode", "show", episode["id"], "--data-dir", stack.data_dir).stdout
        for episode in episodes
    ]
    assert all(f"trained into v{version}" in picture for picture in drawn)
    assert "advantage  -0.707" in drawn[0]
    assert "advantage  +0.707" in drawn[1]
    assert {episode["policy_version"] for episode in episodes} == {version}
    assert version >= 1
    until(lambda: served_version(stack) >= version, TRAINING_SECONDS)

    reply = httpx.post(
        f"{stack.ready['base_url']}/chat/completions",
        json={"messages": [{"role": "user", "content": "pen"}], "max_tokens": 4},
        headers={"Authorization": f"Bearer {stack.ready['project_key']}"},
        timeout=30,
    )
    assert int(reply.headers["x-turngate-policy-version"]) >= version


@pytest.mark.engine
def test_a_crashed_engine_comes_back_with_the_current_policy(stack: RunningStack) -> None:
    """It does not serve the starter again, and status reports the restart."""
    trained(stack, play_group(stack)[0])
    before = stack.processes()["engine-0"]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: is_back(stack.processes()["engine-0"], since=before), START_SECONDS)

    command = psutil.Process(stack.processes()["engine-0"]["pid"]).cmdline()
    version = int(command[command.index("--weight-version") + 1])
    assert version >= 1
    assert command[command.index("--model") + 1].endswith(f"v{version:08}")
    assert served_version(stack) == version


@pytest.mark.engine
def test_a_second_up_on_the_same_directory_is_refused(stack: RunningStack) -> None:
    """The refusal names the first one's pid, and the first one goes on."""
    outcome = turngate("up", "--data-dir", stack.data_dir)

    assert outcome.returncode == 1
    assert f"pid {stack.process.pid}" in outcome.stderr
    assert stack.get("/v1/training")["object"] == "training"


@pytest.mark.engine
def test_no_secret_is_where_others_can_read_it(stack: RunningStack) -> None:
    """Not in an argument or a title of a process, in a log, on a page of metrics, in an error, or in a file for all."""
    directory = DataDirectory(Path(stack.data_dir))
    secrets = [*json.loads(directory.secrets.read_text()).values(), stack.ready["project_key"]]
    family = psutil.Process(stack.process.pid).children(recursive=True)
    wrong = {"Authorization": "Bearer tg-wrong"}
    (engine,) = stack.ready["engines"]
    shown = {
        **{f"pid {process.pid}": " ".join(process.cmdline()) for process in family},
        **{str(log): log.read_text(errors="replace") for log in directory.logs.iterdir()},
        **{url: httpx.get(url, timeout=30).text for url in stack.ready["metrics_urls"]},
        **{
            url: httpx.get(url, headers=wrong, timeout=30).text
            for url in (f"{stack.root}/v1/keys", f"{stack.root}/nowhere", f"{engine}/server_info")
        },
    }

    assert len(family) >= 6
    assert all(len(secret) >= 32 for secret in secrets)
    assert [where for where, text in shown.items() if any(s in text for s in secrets)] == []
    assert directory.root.stat().st_mode & 0o077 == 0
    assert directory.secrets.stat().st_mode & 0o077 == 0
    assert (directory.redis / "redis.conf").stat().st_mode & 0o077 == 0


@pytest.mark.engine
def test_keys_are_made_listed_and_deleted(stack: RunningStack) -> None:
    """A key of `turngate keys create` opens the endpoint until it is deleted."""
    where = ("--data-dir", stack.data_dir, "--output", "json")
    bounds = ("--expires-in-seconds", "600", "--max-open-episodes", "5")
    created = json.loads(turngate("keys", "create", "--name", "tester", *bounds, *where).stdout)
    headers = {"Authorization": f"Bearer {created['key']}"}
    opened = httpx.get(f"{stack.ready['base_url']}/models", headers=headers, timeout=30)
    listed = json.loads(turngate("keys", "list", *where).stdout)["data"]
    turngate("keys", "delete", created["id"], *where)
    refused = httpx.get(f"{stack.ready['base_url']}/models", headers=headers, timeout=30)

    assert (opened.status_code, refused.status_code) == (200, 401)
    assert "tester" in [key["name"] for key in listed]
    assert created["max_open_episodes"] == 5
    assert created["expires"] > created["created"]
    assert created["key"] not in json.dumps(listed)


def test_a_port_in_use_stops_the_start_before_it_begins(model_dir: Path, tmp_path: Path) -> None:
    """The error names the port and the option that changes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        arguments = ["--model", str(model_dir), "--data-dir", str(tmp_path / "data")]
        outcome = turngate("up", *arguments, "--port", port)

    assert outcome.returncode == 1
    assert f"127.0.0.1:{port}" in outcome.stderr
    assert "--port" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_directory_belongs_to_one_model(model_dir: Path, tmp_path: Path) -> None:
    """Another model's policies would carry the same version numbers, so another model is refused."""
    (tmp_path / "stack.json").write_text(json.dumps({"model": "/some/other/model"}))
    outcome = turngate("up", "--model", str(model_dir), "--data-dir", str(tmp_path))

    assert outcome.returncode == 1
    assert "holds policies of /some/other/model" in outcome.stderr


def test_commands_for_a_running_stack_say_when_there_is_none(tmp_path: Path) -> None:
    """Status fails with the remedy; down has nothing to do and says so."""
    where = ("--data-dir", str(tmp_path))
    status, down = turngate("status", *where), turngate("down", *where, "--output", "json")

    assert status.returncode == 1
    assert "turngate up" in status.stderr
    assert (down.returncode, json.loads(down.stdout)) == (0, {"stopped": None})


def test_the_gateway_alone_serves_any_engines(
    model_dir: Path, redis_url: str, tmp_path: Path
) -> None:
    """It says where it is and with which keys before any engine is up, and ends on SIGTERM."""
    arguments = ["--engine", "http://127.0.0.1:9", "--model", str(model_dir)]
    arguments += ["--redis", redis_url, "--data-dir", str(tmp_path / "data")]
    with started(tmp_path / "gateway.log", "gateway", *arguments) as gateway:
        opened = gateway.post("/v1/episodes", {"task_id": "pen"})
        ready = httpx.get(f"{gateway.root}/readyz", timeout=30)

    assert opened["status"] == "open"
    assert ready.status_code == 503
    assert gateway.ready["engines"] == ["http://127.0.0.1:9"]


@pytest.mark.nightly
def test_the_gateway_alone_replaces_its_workers_on_sighup(
    model_dir: Path, redis_url: str, tmp_path: Path
) -> None:
    """The command passes the signal on, and goes on itself; the address stays."""
    arguments = ["--engine", "http://127.0.0.1:9", "--model", str(model_dir), "--workers", "2"]
    arguments += ["--redis", redis_url, "--data-dir", str(tmp_path / "data")]
    with started(tmp_path / "gateway.log", "gateway", *arguments) as running:
        (gateway,) = psutil.Process(running.process.pid).children()
        old = set(gateway.children())
        running.process.send_signal(signal.SIGHUP)
        until(lambda: len(set(gateway.children()) - old) == 2, START_SECONDS)
        until(lambda: not set(gateway.children()) & old, START_SECONDS)
        opened = running.post("/v1/episodes", {"task_id": "pen"})

    assert len(old) == 2
    assert opened["status"] == "open"


def served_version(stack: RunningStack) -> int:
    (engine,) = stack.ready["engines"]
    key = DataDirectory(Path(stack.data_dir)).secrets
    headers = {"Authorization": f"Bearer {json.loads(key.read_text())['engine_admin_key']}"}
    reply = httpx.get(f"{engine}/model_info", headers=headers, timeout=30)
    return int(reply.raise_for_status().json()["weight_version"])


def is_back(process: dict[str, Any], *, since: dict[str, Any]) -> bool:
    return bool(process["restarts"] > since["restarts"] and process["state"] == "ready")
