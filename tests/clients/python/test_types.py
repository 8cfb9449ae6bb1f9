"""The client in a user's code, as mypy sees it in strict mode."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# The SDKs' own types take mypy a quarter of a minute and are not ours to check. What is installed is read silently.
CONFIGURATION = """\
[mypy]
strict = true
python_version = 3.11
[mypy-openai.*,anthropic.*]
follow_imports = skip
[mypy-turngate.*]
follow_imports = silent
"""
PROGRAM = '''\
"""What a user writes."""

from typing import assert_type

from turngate import AsyncEpisode, AsyncTurngate, Episode, NewReward, Row, Turngate
from turngate import evaluate, grader, graders, rollouts
from turngate.records import EpisodeDetail, EpisodeSummary, RewardAnswer


def play(question: str) -> EpisodeDetail:
    with Turngate(patience=5).episode(task=question, group="g", group_size=8) as episode:
        assert_type(episode.reward(1.0, name="style"), RewardAnswer)
        assert_type(episode.env(), dict[str, str])
        assert_type(episode.chat([{"role": "user", "content": "Hi"}], max_tokens=9), str)
        assert_type(episode.complete("failed"), EpisodeSummary)
    return episode.show()


async def play_awaited(question: str) -> float | None:
    async with AsyncTurngate() as turngate, turngate.episode(held_out=True) as episode:
        assert_type(await episode.reward(1.0), RewardAnswer)
        await turngate.rewards([NewReward(1.0, completion_id="chatcmpl-1")])
        found = await turngate.episodes(status="trained")
    assert_type(found, list[EpisodeSummary])
    return (await episode.show()).reward


@graders.exact()
def agent(episode: Episode, row: Row) -> str:
    reply = episode.openai().chat.completions.create(model=episode.model, messages=[])
    return str(reply.choices[0].message.content)


async def awaited(episode: AsyncEpisode, row: Row) -> float:
    return float(await episode.chat([]) == row["answer"])


@grader
def short(answer: str, row: Row) -> float:
    return len(answer) < 100


def run() -> float:
    print(rollouts("train.jsonl", agent, group_size=8, resume="run.jsonl"))
    rollouts([{"question": "Hi"}], awaited)
    rollouts([], ["python", "agent.py"], grader=short)
    return evaluate("test.jsonl", agent, samples=8).pass_at(4).low
'''
WRONG = """
def wrong(turngate: Turngate, awaiting: AsyncTurngate) -> None:
    turngate.episode(tsk="17")
    turngate.episode().reward("1.0")
    turngate.episodes(status="done")
    turngate.keys()[0].secret
    awaiting.keys()[0]
"""


def checked(directory: Path, program: str) -> list[str]:
    (directory / "user.py").write_text(program)
    (directory / "mypy.ini").write_text(CONFIGURATION)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "user.py"],
        cwd=directory,
        env={"MYPYPATH": str(ROOT / "clients" / "python"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.splitlines()


def test_user_code_is_checked_in_strict_mode(tmp_path: Path) -> None:
    """Right code passes; a misspelt option, a reward that is text, an unknown status and a missing await do not."""
    *found, summary = checked(tmp_path, PROGRAM + WRONG)
    errors = [line for line in found if ": error:" in line]
    lines = {int(line.split(":")[1]) for line in errors if line.startswith("user.py:")}
    assert summary == f"Found {len(errors)} errors in 1 file (checked 1 source file)"
    first = len(PROGRAM.splitlines()) + 3
    assert lines == set(range(first, first + 5))
