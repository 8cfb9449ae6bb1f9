"""`turngate eval`: as a user runs it, against a real gateway."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.scripted_engine import running_engine

ROOT = Path(__file__).resolve().parents[2]
AGENT = '''
async def agent(episode, row):
    """Right about the first row only."""
    said = await episode.chat([{"role": "user", "content": row.question}])
    return float(row.id == "0" and said == "Hello there.")
'''


@pytest.fixture
async def served(start_gateway: StartGateway, tokenizer: Tokenizer) -> AsyncIterator[Gateway]:
    async with running_engine() as engine:
        engine.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        async with start_gateway(engine) as gateway:
            yield gateway


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    rows = [{"question": "Hi", "answer": answer} for answer in ("hello there.", "Bye.")]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "my_agent.py").write_text(AGENT)
    return tmp_path


async def turngate(
    served: Gateway, directory: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.cli", "eval", "test.jsonl", "--gateway", served.url]
    return await asyncio.to_thread(
        subprocess.run,
        [*command, *arguments],
        cwd=directory,
        env={
            "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}",
            "PATH": os.environ["PATH"],
            "TURNGATE_API_KEY": ADMIN_KEY,
        },
        capture_output=True,
        text=True,
        check=False,
    )


async def test_agents_of_each_kind_are_evaluated(served: Gateway, directory: Path) -> None:
    """One chat turn by default, a function by its name, a command after `--`; all are held out."""
    chat, function, command = await asyncio.gather(
        turngate(
            served, directory, "--samples", "2", "--out", "attempts.jsonl", "--output", "json"
        ),
        turngate(served, directory, "--agent", "my_agent:agent", "--output", "json"),
        turngate(served, directory, "--", "echo", "hello there."),
    )
    episodes = (await served.admin.get("/v1/episodes?limit=100")).json()["data"]

    assert [each.returncode for each in (chat, function, command)] == [0, 0, 0], chat.stderr
    shown = json.loads(chat.stdout)
    assert (shown["rows"], shown["attempts"], shown["policy_versions"]) == (2, 4, [0])
    assert shown["pass_at"]["2"]["value"] == 0.5
    assert 0 < shown["pass_at"]["1"]["low"] < 0.5 < shown["pass_at"]["1"]["high"] < 1
    assert json.loads(function.stdout)["pass_at"]["1"]["value"] == 0.5
    assert command.stdout.startswith("pass@1  0.500 [")
    assert {e["kind"] for e in episodes} == {"side"}
    assert len((directory / "attempts.jsonl").read_text().splitlines()) == 4


async def test_mistakes_are_one_line(served: Gateway, directory: Path) -> None:
    """Each names the thing and the remedy, without a traceback."""
    outcomes = await asyncio.gather(
        turngate(served, directory, "--grader", "exakt"),
        turngate(served, directory, "--agent", "no_such:agent"),
        turngate(served, directory, "--k", "4"),
        turngate(served, directory, "--answer", "solution"),
    )

    said = [outcome.stderr.splitlines()[-1] for outcome in outcomes]
    assert {outcome.returncode for outcome in outcomes} == {1}
    assert not any("Traceback" in outcome.stderr for outcome in outcomes)
    assert "no grader exakt; use exact, numeric, math, unit_tests, or MODULE:NAME" in said[0]
    assert "there is no module no_such" in said[1]
    assert "--samples 4" in said[2]
    assert "there is no field solution; the row has question, answer" in said[3]
