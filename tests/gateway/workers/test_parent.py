"""What becomes of workers when their parent dies, or when they cannot start."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateway.workers.running import BODY, PATH, Workers, environment, running_workers
from tests.scripted_engine import ScriptedEngine, Wait


async def is_refused(running: Workers) -> bool:
    """Whether nothing listens any more."""
    async with running.client() as client:
        try:
            await client.get("/healthz")
        except httpx.TransportError:
            return True
    return False


async def test_workers_whose_parent_is_killed_finish_their_turns_and_end(
    scripted: ScriptedEngine,
    tokenizer: Tokenizer,
    redis_url: str,
    model_dir: Path,
    tmp_path: Path,
) -> None:
    """As after SIGTERM: new calls are refused, a stream ends whole, and then no process is left."""
    wait = Wait(asyncio.Event())
    scripted.script(*spell(tokenizer, "last"), wait, end_of_turn(tokenizer))
    async with running_workers(
        tmp_path, scripted.url, redis_url=redis_url, model_dir=model_dir
    ) as running:
        workers = [psutil.Process(pid) for pid in running.pids]
        async with running.client() as client:
            stream = asyncio.create_task(client.post(PATH, json=BODY | {"stream": True}))
            await wait.reached.wait()
            running.process.kill()
            await eventually(lambda: is_refused(running), seconds=30)
            wait.event.set()
            assert (await stream).text.endswith("data: [DONE]\n\n")

        async def are_gone() -> bool:
            return not any(worker.is_running() for worker in workers)

        await eventually(are_gone, seconds=30)
    assert len(workers) == 2


@pytest.mark.nightly
def test_a_mistake_of_the_operator_ends_the_start(
    redis_url: str, model_dir: Path, tmp_path: Path
) -> None:
    """What no worker can do is tried once: the log says why, and the exit status is that of one gateway alone."""
    variables = environment(
        tmp_path, "http://127.0.0.1:9", redis_url=redis_url, model_dir=tmp_path / "none"
    )
    done = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr
