"""Rollouts at a real gateway: every member of every row once, whatever kind of agent plays and whatever interrupts it."""

import asyncio
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.clients.python import killed_run
from tests.gateways import ADMIN_KEY, Gateway
from turngate import (
    AsyncEpisode,
    AsyncTurngate,
    Episode,
    Row,
    Table,
    Turngate,
    graders,
    rollouts,
    rollouts_async,
)
from turngate.errors import AgentInvalid, JournalMismatch, TurngateError, Unreachable
from turngate.rollouts import Progress
from turngate.rollouts.journal import Journal

ROWS = [{"question": f"{number}?", "answer": "Hello there."} for number in range(3)]
ROOT = Path(__file__).resolve().parents[3]
COMMAND = (
    "import json, openai, sys; row = json.load(sys.stdin); print(openai.OpenAI().chat.completions.create("
    "model='policy', messages=[{'role': 'user', 'content': row['question']}]).choices[0].message.content)"
)


def ask(episode: Episode, row: Row) -> str:
    reply = episode.openai().chat.completions.create(
        model=episode.model, messages=[{"role": "user", "content": row.question}]
    )
    return reply.choices[0].message.content or ""


async def ask_awaited(episode: AsyncEpisode, row: Row) -> str:
    reply = await episode.openai().chat.completions.create(
        model=episode.model, messages=[{"role": "user", "content": row.question}]
    )
    return reply.choices[0].message.content or ""


@graders.exact()
def graded(episode: Episode, row: Row) -> str:
    return ask(episode, row)


async def play(served: Gateway, agent: Any, **options: Any) -> Table:
    async with AsyncTurngate(served.url, ADMIN_KEY) as turngate:
        options = {"progress": None, "group_size": 2, "turngate": turngate} | options
        return await rollouts_async(options.pop("dataset", ROWS), agent, **options)


async def episodes(served: Gateway) -> list[dict[str, Any]]:
    data = (await served.admin.get("/v1/episodes?limit=100")).json()["data"]
    assert isinstance(data, list)
    return data


@pytest.mark.parametrize(
    ("agent", "options"),
    [
        (graded, {}),
        (ask, {"grader": graders.exact()}),
        (graders.exact()(ask_awaited), {}),
        ([sys.executable, "-c", COMMAND], {"grader": graders.exact(), "dataset": ROWS[:1]}),
    ],
    ids=["decorated", "blocking", "awaited", "command"],
)
async def test_every_kind_of_agent_plays_groups(
    served: Gateway, agent: Any, options: dict[str, Any]
) -> None:
    """Each row is one group of rewarded episodes, and the table has each attempt with its answer and reward."""
    seen: list[Progress] = []

    table = await play(served, agent, progress=seen.append, **options)

    recorded = await episodes(served)
    num_rows = len(table.by_row)
    assert {(a.reward, a.answer, a.error) for a in table} == {(1.0, "Hello there.", None)}
    assert {e["id"] for e in recorded} == {a.episode for a in table}
    assert Counter(e["status"] for e in recorded) == {"rewarded": 2 * num_rows}
    assert set(Counter(e["group_id"] for e in recorded).values()) == {2}
    assert [p.done for p in seen] == list(range(1, 2 * num_rows + 1))
    assert seen[-1].mean_reward == table.mean_reward == 1.0


async def test_a_reward_may_be_returned_or_posted(served: Gateway) -> None:
    """A number is the reward; an agent that posted its own returns nothing."""

    def posting(episode: Episode, row: Row) -> None:
        ask(episode, row)
        episode.reward(0.25)

    def returning(episode: Episode, row: Row) -> float:
        ask(episode, row)
        return 0.5

    posted, returned = await play(served, posting), await play(served, returning)

    assert {a.reward for a in posted} == {0.25}
    assert {a.reward for a in returned} == {0.5}
    assert {e["reward"] for e in await episodes(served)} == {0.25, 0.5}


async def test_an_agents_error_is_its_own(served: Gateway) -> None:
    """Its episode is completed as failed, the table says why, and the others go on."""

    def agent(episode: Episode, row: Row) -> float:
        ask(episode, row)
        if row.question == "1?":
            raise ValueError("lost")
        return 1.0

    table = await play(served, agent)

    assert [a.error for a in table] == [None, None, *["ValueError: lost"] * 2, None, None]
    assert Counter(e["outcome"] for e in await episodes(served)) == {"succeeded": 4, "failed": 2}
    assert "6 attempts, mean reward 1.000, 2 errors" in str(table)


async def test_a_command_that_fails_shows_what_it_said(served: Gateway) -> None:
    """The end of its standard error is the error of the attempt."""
    command = [sys.executable, "-c", "import sys; sys.exit('no {question} today')"]

    (first, *_) = await play(served, command, dataset=ROWS[:1])

    assert first.error == "CommandFailed: exit code 1: no 0? today"


async def test_what_is_no_agent_and_what_nothing_grades_stops_the_run(served: Gateway) -> None:
    """Each is a mistake of the caller; an episode that was opened for it is given up."""
    with pytest.raises(AgentInvalid, match="function of an episode and a row, or a command"):
        await play(served, 5)
    with pytest.raises(AgentInvalid, match="nothing grades it"):
        await play(served, ask)
    with pytest.raises(Unreachable):
        await rollouts_async(
            ROWS, ask, turngate=AsyncTurngate("http://127.0.0.1:9", "tg-1", max_retries=0)
        )

    left = await episodes(served)
    assert {e["disposition"] for e in left} <= {"aborted"}, left


async def test_a_grader_that_cannot_tell_gives_the_episode_up(served: Gateway) -> None:
    """That is no failure of the agent: the episode does not train, and the table has the error."""

    @graders.grader
    def lost(answer: str, row: Row) -> float:
        raise OSError("judge is away")

    table = await play(served, ask, grader=lost)

    assert {a.error for a in table} == {"OSError: judge is away"}
    assert {e["disposition"] for e in await episodes(served)} == {"aborted"}


async def test_a_killed_run_resumes(served: Gateway, tmp_path: Path) -> None:
    """After a SIGKILL in the middle, each member of each row has one end and one rewarded episode; what was cut is given up."""
    file = tmp_path / "run.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(killed_run.__file__)),
        served.url,
        ADMIN_KEY,
        str(file),
        env={"PYTHONPATH": f"{ROOT / 'clients' / 'python'}:{ROOT}", "PATH": ""},
        stderr=asyncio.subprocess.DEVNULL,
    )
    while not file.exists() or file.read_bytes().count(b'"reward"') < 4:
        await asyncio.sleep(0.01)
        assert process.returncode is None
    process.kill()
    await process.wait()
    file.write_bytes(file.read_bytes() + b'{"row": "2", "mem')  # as a crash cuts a line

    table = await play(
        served,
        killed_run.agent,
        dataset=killed_run.ROWS,
        group_size=killed_run.MEMBERS,
        resume=file,
    )
    again = await play(
        served,
        lambda *_: pytest.fail("nothing is left to play"),
        dataset=killed_run.ROWS,
        group_size=killed_run.MEMBERS,
        resume=file,
    )

    recorded = {e["id"]: e for e in await episodes(served)}
    ends = [json.loads(line) for line in file.read_text().splitlines() if '"reward"' in line]
    assert again == table
    assert len({(end["row"], end["member"]) for end in ends}) == len(ends) == 12
    assert {recorded[a.episode]["reward"] for a in table} == {1.0}
    others = [e for id_, e in recorded.items() if id_ not in {a.episode for a in table}]
    assert {e["disposition"] for e in others} <= {"aborted"}
    assert len(others) <= 3


@pytest.mark.parametrize("reward", [math.nan, math.inf])
async def test_what_is_no_reward_stops_one_attempt_only(served: Gateway, reward: float) -> None:
    """The episode is given up, the table names the value, and the others go on."""

    def agent(episode: Episode, row: Row) -> float:
        ask(episode, row)
        return reward if row.question == "1?" else 1.0

    table = await play(served, agent, group_size=1)

    assert [a.reward for a in table] == [1.0, None, 1.0]
    assert f"the agent returned {reward}" in str(table.errors[0].error)


async def test_an_episode_that_is_gone_stops_one_attempt_only(served: Gateway) -> None:
    """Its reward is refused, which the table shows."""

    async def agent(episode: AsyncEpisode, row: Row) -> float:
        await ask_awaited(episode, row)
        if row.question == "1?":
            body = {"status": "aborted"}
            await served.admin.post(f"/v1/episodes/{episode.id}/complete", json=body)
        return 1.0

    table = await play(served, agent, group_size=1)

    assert [a.error is None for a in table] == [True, False, True]


def test_a_number_is_used_once(tmp_path: Path) -> None:
    """After a number that was left out, a resumed run goes on above the highest."""
    file, row = tmp_path / "run.jsonl", Row("1", "What?", "", {})
    journal = Journal.open(file, [row], plan={})
    journal.start(row, 0, "ep_1", number=1)
    journal.close()

    resumed = Journal.open(file, [row], plan={})
    numbers = resumed.next_number("1", 0), resumed.next_number("1", 1)
    resumed.close()

    assert numbers == (2, 0)


async def test_an_end_whose_line_was_lost_is_taken_over(served: Gateway, tmp_path: Path) -> None:
    """The episode was rewarded before the crash, so it is not played again; one that was only opened is."""
    file = tmp_path / "run.jsonl"
    table = await play(served, graded, resume=file)
    lines = file.read_text().splitlines()
    file.write_text(
        "".join(
            f"{line}\n"
            for line in lines
            if '"member": 1, "episode"' not in line or "started" in line
        )
    )

    resumed = await play(served, graded, resume=file)

    assert [(a.key, a.episode, a.reward) for a in resumed] == [
        (a.key, a.episode, a.reward) for a in table
    ]
    assert len(await episodes(served)) == 6


async def test_a_file_belongs_to_one_run(served: Gateway, tmp_path: Path) -> None:
    """Other rows, another plan, another kind of file and a file in use are refused, each with the remedy."""
    file, other = tmp_path / "run.jsonl", tmp_path / "other.jsonl"
    await play(served, graded, resume=file)
    other.write_text('{"question": "a"}\n')

    with pytest.raises(JournalMismatch, match="differs in rows"):
        await play(served, graded, resume=file, dataset=ROWS[:1])
    with pytest.raises(JournalMismatch, match="differs in members"):
        await play(served, graded, resume=file, group_size=3)
    with pytest.raises(JournalMismatch, match="no file of a run"):
        await play(served, graded, resume=other)
    assert other.read_text() == '{"question": "a"}\n'


async def test_blocking_rollouts_run_in_scripts_and_in_notebooks(served: Gateway) -> None:
    """Without a loop in the thread, and with one, as a notebook has."""

    def script() -> Table:
        with Turngate(served.url, ADMIN_KEY) as turngate:
            return rollouts(ROWS[:1], graded, group_size=2, progress=None, turngate=turngate)

    async def notebook() -> Table:
        return script()

    in_script = await asyncio.to_thread(script)
    in_notebook = await asyncio.to_thread(asyncio.run, notebook())

    assert in_script.rewards == in_notebook.rewards == [1.0, 1.0]


async def test_the_table_is_written_and_shown(served: Gateway, tmp_path: Path) -> None:
    """As JSON Lines with every attempt, and as text with every row."""
    table = await play(served, graded)
    table.write(tmp_path / "table.jsonl")

    written = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    assert [(line["row"], line["member"]) for line in written] == [a.key for a in table]
    assert str(table).splitlines()[1].split() == ["0", "2", "1.000", "1.000", "1.000", "0"]
    assert issubclass(JournalMismatch, TurngateError)
