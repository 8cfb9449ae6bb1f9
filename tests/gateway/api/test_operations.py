"""Health, metrics, policies and training, as an operator sees them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from rollout.policies import PolicyStore
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.redis_server import spawn, wait_until_ready
from tests.scripted_engine import Refuse, ScriptedEngine, Wait

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}


async def test_health_and_readiness(served: Gateway) -> None:
    """A gateway with an engine and a store is healthy and ready, without a key."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert (await client.head("/")).status_code == 200
        assert (await client.get("/metrics")).status_code == 404


async def test_metrics_add_up(served: Gateway, scripted: ScriptedEngine) -> None:
    """Requests, turns and tokens are counted as they happened, and dispositions with those live make up the opened."""
    scripted.cached_tokens = 3
    for name in ("ep_1", "ep_2", "ep_3"):
        await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": name})
    scripted.script(Refuse(400, "no"))
    await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_4"})
    scripted.script(Refuse(400, "no"))
    await served.admin.post(CHAT, json=BODY)  # opens none: nobody was told of one
    await served.admin.delete("/v1/episodes/ep_1")
    await served.admin.post("/v1/episodes/ep_2/rewards", json={"value": 1, "complete": True})
    turns = await served.store.turns("ep_2")
    requests = await served.metric("turngate_requests_total")
    opened = await served.metric("turngate_episodes_opened_total")
    settled = await served.metric("turngate_episodes_total")
    live = await served.metric("turngate_episodes_live")
    assert requests['{route="/v1/chat/completions",status="200"}'] == 3
    assert requests['{route="/v1/chat/completions",status="400"}'] == 2
    assert requests['{route="/v1/episodes/{id}",status="200"}'] == 1
    assert await served.metric("turngate_turns_total") == {'{kind="train"}': 3}
    output_tokens = turns[0].outputs[0].num_tokens
    assert await served.metric("turngate_output_tokens_total") == {"": 3 * output_tokens}
    assert await served.metric("turngate_cached_tokens_total") == {"": 9}
    assert opened == {"": 4}
    assert sum(settled.values()) + sum(live.values()) == 4
    assert settled['{disposition="deleted"}'] == 1
    assert live['{status="rewarded"}'] == 1
    assert await served.metric("turngate_store_up") == {"": 1}
    assert list((await served.metric("turngate_engine_up")).values()) == [1]
    assert (await served.metric("turngate_first_token_seconds_count"))[""] == 3


async def test_a_policy_is_activated_and_released(
    served: Gateway, scripted: ScriptedEngine, tmp_path: Path, model_dir: Path
) -> None:
    """Activating an older version loads it and pins it; releasing returns to the latest."""
    policies = PolicyStore(tmp_path / "weights")
    starter = policies.adopt(model_dir, created=1)
    newer = policies.write(
        1, parent=0, base_dir=model_dir, write_weights=lambda directory: None, created=2
    )
    await served.store.record_policy(starter)
    await served.store.record_policy(newer)
    forward = (await served.admin.post("/v1/policies/1/activate")).json()
    assert scripted.version == 1
    await served.store.record_policy(newer)
    released = (await served.admin.post("/v1/policies/release")).json()
    shown = (await served.admin.get("/v1/policies/1")).json()
    assert (forward["version"], forward["pinned"]) == (1, True)
    assert (released["version"], released["pinned"]) == (1, False)
    assert shown["is_active"] is True
    assert shown["digest"] == newer.digest
    assert (await served.metric("turngate_policy_version")) == {"": 1}


async def test_a_damaged_policy_is_not_activated(
    served: Gateway, scripted: ScriptedEngine, tmp_path: Path, model_dir: Path
) -> None:
    """A half-written directory is 409 with the file's name; nothing is pinned and no engine is paused."""
    starter = PolicyStore(tmp_path / "weights").adopt(model_dir, created=1)
    await served.store.record_policy(starter)
    (tmp_path / "weights" / "v00000000" / "config.json").unlink()
    answer = await served.admin.post("/v1/policies/0/activate")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "policy_damaged")
    assert "config.json is missing" in answer.json()["error"]["message"]
    assert await served.store.pinned() is False
    assert "pause" not in scripted.calls


async def test_training_is_paused_and_resumed(served: Gateway) -> None:
    """The trainer's state is shown, and pausing it is remembered until it is resumed."""
    await served.store.set_training({"step": 12, "staleness": 1.5, "loss": 0.25})
    paused = (await served.admin.post("/v1/training/pause")).json()
    resumed = (await served.admin.post("/v1/training/resume")).json()
    assert (paused["step"], paused["staleness"], paused["paused"]) == (12, 1.5, True)
    assert paused["metrics"]["loss"] == 0.25
    assert resumed["paused"] is False


async def test_a_lagging_engine_is_brought_up_to_date(
    served: Gateway, scripted: ScriptedEngine, tmp_path: Path, model_dir: Path
) -> None:
    """Calls go on while an engine lags behind the recorded policy."""
    starter = PolicyStore(tmp_path / "weights").adopt(model_dir, created=1)
    scripted.version = 5
    await served.store.record_policy(starter)
    assert (await served.admin.post(CHAT, json=BODY)).status_code == 200


def gateway_environment(tmp_path: Path, **settings: str) -> dict[str, str]:
    """A process's environment with these settings and none of ours from outside."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TURNGATE_")}
    return kept | {
        "TURNGATE_REDIS_URL": "unix:///nowhere/redis.sock",
        "TURNGATE_DATABASE_URL": f"sqlite:///{tmp_path / 'process.db'}",
        "TURNGATE_MODEL_DIR": str(tmp_path),
        "TURNGATE_ENGINES": "http://127.0.0.1:9",
        "TURNGATE_GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "TURNGATE_GATEWAY_PORT": "0",
        "TURNGATE_GATEWAY_METRICS_PORT": "0",
        **settings,
    }


def run_gateway(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"TURNGATE_GATEWAY_TOOL_FORMAT": "qwenn"}, "qwenn is not one of"),
        ({"TURNGATE_GATEWAY_PROT": "1"}, "TURNGATE_GATEWAY_PROT"),
        ({"TURNGATE_REDIS": "x"}, "TURNGATE_REDIS"),
        ({"TURNGATE_GATEWAY_PORT": "many"}, "TURNGATE_GATEWAY_PORT"),
        ({"TURNGATE_GATEWAY_ADMIN_KEY": "short"}, "TURNGATE_GATEWAY_ADMIN_KEY"),
        ({"TURNGATE_ENGINES": ""}, "TURNGATE_ENGINES"),
        ({"TURNGATE_PROJECT": "a/b"}, "TURNGATE_PROJECT"),
        ({}, "Hugging Face"),
    ],
)
def test_a_wrong_setting_ends_the_start(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    """A setting that is unknown, wrong or points nowhere is named in one line, without a traceback."""
    done = run_gateway(gateway_environment(tmp_path, **settings))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_redis_down_at_start(tmp_path: Path, model_dir: Path) -> None:
    """A gateway that has waited for Redis in vain ends, and the error names Redis."""
    settings = {"TURNGATE_MODEL_DIR": str(model_dir), "TURNGATE_GATEWAY_START_SECONDS": "1"}
    done = run_gateway(gateway_environment(tmp_path, **settings))
    assert done.returncode == 2
    assert "Redis" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_url_ends_the_start(tmp_path: Path, model_dir: Path, redis_url: str) -> None:
    """A URL that no client could open is named in one line."""
    valid = {"TURNGATE_MODEL_DIR": str(model_dir), "TURNGATE_REDIS_URL": redis_url}
    for name in ("TURNGATE_REDIS_URL", "TURNGATE_DATABASE_URL"):
        done = run_gateway(gateway_environment(tmp_path, **valid | {name: "nonsense"}))
        assert done.returncode == 2
        assert name in done.stderr
        assert "Traceback" not in done.stderr


async def test_a_port_in_use(served: Gateway, tmp_path: Path) -> None:
    """A taken port is named with the remedy."""
    port = served.url.rpartition(":")[2]
    done = run_gateway(gateway_environment(tmp_path, TURNGATE_GATEWAY_PORT=port))
    assert done.returncode == 2
    assert port in done.stderr
    assert "choose another" in done.stderr


async def test_a_process_serves_and_stops(
    scripted: ScriptedEngine,
    tokenizer: Tokenizer,
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
) -> None:
    """`python -m gateway` announces itself, lets a running turn finish on SIGTERM, and exits with 0."""
    ready = tmp_path / "ready.json"
    environment = gateway_environment(
        tmp_path,
        TURNGATE_REDIS_URL=redis_url,
        TURNGATE_MODEL_DIR=str(model_dir),
        TURNGATE_ENGINES=scripted.url,
        TURNGATE_PROJECT="process",
        TURNGATE_GATEWAY_READY_FILE=str(ready),
    )
    wait = Wait(asyncio.Event())
    scripted.script(wait, *spell(tokenizer, "finished"), end_of_turn(tokenizer))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        where = json.loads(await eventually(lambda: contents(ready), seconds=60))
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        base_url = f"http://{where['host']}:{where['port']}"
        async with httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False) as client:
            running = asyncio.create_task(client.post(CHAT, json=BODY))
            await wait.reached.wait()
            metrics = await client.get(f"http://{where['host']}:{where['metrics_port']}/metrics")
            process.send_signal(signal.SIGTERM)
            wait.event.set()
            answer = await running
        _, log = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "turngate_engine_up" in metrics.text
    assert answer.json()["choices"][0]["message"]["content"] == "finished"
    assert process.returncode == 0, log.decode()
    assert b"Traceback" not in log
    assert f"engine up engine={scripted.url} policy_version=0".encode() in log
    assert b"httpx" not in log  # it would tell of every probe


async def contents(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def test_redis_goes_down_in_mid_turn(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A turn whose commit finds Redis gone waits for it, and is recorded when it is back; meanwhile new calls are 503."""
    with tempfile.TemporaryDirectory(prefix="tg-outage-") as name:
        directory = Path(name)
        server = spawn(directory)
        try:
            url = await asyncio.to_thread(wait_until_ready, directory)
            async with start_gateway(scripted, redis_url=url) as served:
                wait = Wait(asyncio.Event())
                scripted.script(wait, *spell(tokenizer, "kept"), end_of_turn(tokenizer))
                path = "/e/ep_1/v1/chat/completions"
                running = asyncio.create_task(served.admin.post(path, json=BODY, timeout=60))
                await wait.reached.wait()
                server.terminate()
                await asyncio.to_thread(server.wait)
                refused = await served.admin.post(CHAT, json=BODY, timeout=60)
                ready = await served.admin.get("/readyz")
                up = await served.metric("turngate_store_up")
                wait.event.set()
                server = spawn(directory)
                answer = await running
                turns = await served.store.turns("ep_1")
        finally:
            server.terminate()
            await asyncio.to_thread(server.wait)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert "store" in ready.json()["missing"]
    assert up == {"": 0}
    assert answer.json()["choices"][0]["message"]["content"] == "kept"
    assert [f"chatcmpl-{turn.id}" for turn in turns] == [answer.json()["id"]]


def test_the_gateway_loads_no_torch() -> None:
    """Importing the gateway, its entry point included, loads neither torch nor transformers."""
    code = (
        "import sys, gateway.__main__, gateway.serving; "
        "print([m for m in ('torch', 'transformers', 'megatron') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
