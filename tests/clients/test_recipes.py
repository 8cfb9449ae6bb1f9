"""The recipes of one file each on a real gateway, with a model that plays its part from a script."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.examples import debate, own_workflow, self_correction, thumbs, tool_reasoning
from clients.examples.coding_agent.__main__ import repair
from clients.examples.coding_agent.problems import PROBLEMS
from clients.examples.gsm8k.__main__ import easy_problems, make_agent
from clients.examples.gsm8k.problems import MARK
from tests.clients.recipe_stage import Say, stage
from tests.gateways import StartGateway
from turngate import Attempt, Episode, Row, Turngate, graders, rollouts

ROW = {"id": "six", "question": "What is 2*3?", "answer": "2*3=<<2*3=6>>6\n#### 6"}


async def play(turngate: Turngate, row: dict[str, Any], agent: Any) -> Attempt:
    """One member of one group."""
    (attempt,) = await asyncio.to_thread(
        rollouts, [row], agent, group_size=1, progress=None, turngate=turngate
    )
    assert attempt.error is None, attempt.error
    return attempt


def script(*replies: str) -> Say:
    """These replies, one after another, whatever is asked."""
    left: Iterator[str] = iter(replies)
    return lambda _: next(left)


async def test_math_rewards_equal_numbers(start_gateway: StartGateway, model_dir: Path) -> None:
    """An answer that is right in another spelling earns the reward, in an episode of one turn."""
    async with stage(start_gateway, model_dir, script("#### 6.0")) as turngate:
        attempt = await play(turngate, ROW, make_agent(max_tokens=32))
        shown = await asyncio.to_thread(turngate.get_episode, attempt.episode)

    assert attempt.reward == 1.0
    assert [turn.finish_reasons for turn in shown.turns] == [["stop"]]
    assert all(MARK in str(row["answer"]) for row in easy_problems(3))


async def test_a_workflow_of_two_calls_is_one_episode(
    start_gateway: StartGateway, model_dir: Path
) -> None:
    """Both calls are turns of the episode, and the second one's slogan is what is rewarded."""
    replies = script("The best kettle you will ever buy", "A kettle that sings")
    async with stage(start_gateway, model_dir, replies) as turngate:
        attempt = await play(turngate, {"question": own_workflow.PRODUCTS[0]}, own_workflow.agent)
        shown = await asyncio.to_thread(turngate.get_episode, attempt.episode)

    assert attempt.reward == 1.0
    assert len(shown.turns) == 2


@pytest.mark.parametrize(
    ("slogan", "expected"),
    [("Sing, kettle!", 1.0), ("Sing!", 0.5), ("kettle " * 9, 0.5), ("", 0.0)],
)
def test_slogans_are_rewarded_by_halves(slogan: str, expected: float) -> None:
    """One half for naming the product and one for few words."""
    assert own_workflow.reward(slogan, "a kettle that sings") == expected


async def test_a_corrected_answer_earns_less_and_trains_as_one_sequence(
    start_gateway: StartGateway, model_dir: Path
) -> None:
    """Wrong, then right: 0.8, in one row that holds both answers."""
    grader = graders.numeric()

    def agent(episode: Episode, row: Row) -> float:
        return self_correction.correct_oneself(episode, row, grader, max_tokens=32)

    async with stage(start_gateway, model_dir, script("#### 5", "#### 6")) as turngate:
        attempt = await play(turngate, ROW, agent)
        sequences = await asyncio.to_thread(turngate.sequences, attempt.episode)
    async with stage(start_gateway, model_dir, lambda _: "#### 5") as turngate:
        never = await play(turngate, ROW, agent)

    assert attempt.reward == self_correction.WORTH_LATER
    assert len(sequences) == 1
    assert never.reward == 0.0


async def test_the_model_sees_what_its_program_prints(
    start_gateway: StartGateway, model_dir: Path
) -> None:
    """It calls the tool, reads the result in its next prompt, and answers with it."""

    def say(prompt: str) -> str:
        if "tool\n6\n" in prompt:
            return "#### 6"
        call = json.dumps({"name": "python", "arguments": {"code": "print(2*3)"}})
        return f"<tool_call>\n{call}\n</tool_call>"

    async with stage(start_gateway, model_dir, say) as turngate:
        attempt = await play(turngate, ROW, tool_reasoning.agent)

    assert (attempt.reward, attempt.answer) == (1.0, "#### 6")


def test_programs_that_fail_are_told_why() -> None:
    """Errors are printed, and a call without a program is told what to send."""
    assert "ZeroDivisionError" in tool_reasoning.printed('{"code": "1/0"}')
    assert tool_reasoning.printed('{"code": "x = 1"}') == "it printed nothing"
    for invalid in ("", "[]", '{"cod', '{"program": ""}'):
        assert tool_reasoning.printed(invalid) == 'call python with {"code": "…"}'


async def test_a_debate_trains_both_speakers(start_gateway: StartGateway, model_dir: Path) -> None:
    """Two histories give two rows; each verdict has its own reward, and the solver's success rewards the episode."""
    grader = graders.numeric()

    def agent(episode: Episode, row: Row) -> float:
        return debate.debate(episode, row, grader, max_tokens=32)

    replies = script("#### 5", "WRONG 2*3 is 6", "#### 6", "RIGHT")
    async with stage(start_gateway, model_dir, replies) as turngate:
        attempt = await play(turngate, ROW, agent)
        shown = await asyncio.to_thread(turngate.get_episode, attempt.episode)
        sequences = await asyncio.to_thread(turngate.sequences, attempt.episode)

    assert attempt.reward == 1.0
    assert len(shown.turns) == 4
    assert len(sequences) == 2
    verdicts = [reward.value for reward in shown.rewards if reward.name == "verdict"]
    assert verdicts == [1.0, 1.0]


@pytest.mark.parametrize("is_right", [True, False])
def test_a_verdict_without_its_word_earns_nothing(is_right: bool) -> None:
    """Only the true one of the two words does, whether the answer is right or wrong."""
    worths = [debate.worth_of(text, is_right=is_right) for text in ("RIGHT", "WRONG: 6", "332", "")]

    assert worths == [is_right, not is_right, 0.0, 0.0]


async def test_a_thumb_rewards_a_reply_after_the_conversation(
    start_gateway: StartGateway, model_dir: Path
) -> None:
    """The episode is sealed without a reward; the vote comes by the id of the reply and finds its turn."""
    said = iter(["Hello.", "Sing!", ""])
    shown: dict[str, str] = {}

    def talk(turngate: Turngate) -> str:
        with turngate.episode(task="chat", reward_deadline_seconds=thumbs.A_DAY) as episode:
            thumbs.chat(episode, lambda: next(said), shown.__setitem__)
        first, second = shown
        thumbs.vote(turngate, {first: "down", second: "up"})
        return episode.id

    async with stage(start_gateway, model_dir, script("Hi.", "La la.")) as turngate:
        episode_id = await asyncio.to_thread(talk, turngate)
        episode = await asyncio.to_thread(turngate.get_episode, episode_id)

    assert list(shown.values()) == ["Hi.", "La la."]
    assert episode.status == "rewarded"
    by_turn = {reward.turn_id: reward.value for reward in episode.rewards}
    assert [by_turn[turn.id] for turn in episode.turns] == [0.0, 1.0]


async def test_a_coding_agent_is_rewarded_by_hidden_tests(
    start_gateway: StartGateway, model_dir: Path, tmp_path: Path
) -> None:
    """Another process asks the model, in a directory with the program; what it leaves there passes the tests or does not."""
    editor = tmp_path / "editor.py"
    editor.write_text(EDITOR)
    right = "def mean(numbers):\n    return sum(numbers) / len(numbers) if numbers else 0.0\n"

    @graders.unit_tests()
    def agent(episode: Episode, row: Row) -> str:
        return repair(episode, row, [sys.executable, str(editor)])

    async with stage(start_gateway, model_dir, script(right, "pass")) as turngate:
        attempt = await play(turngate, PROBLEMS[0], agent)
        worse = await play(turngate, PROBLEMS[0], agent)

    assert (attempt.reward, attempt.answer) == (1.0, right)
    assert worse.reward == 0.0


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem["id"])
def test_the_programs_fail_their_tests(problem: dict[str, Any]) -> None:
    """Each has a mistake, so that doing nothing earns nothing."""
    row = Row(problem["id"], problem["question"], fields=problem)

    assert graders.unit_tests().grade(problem["program"], row) == 0.0


# A coding agent of one call: the reply is the new program. It knows the episode by its environment alone.
EDITOR = """
import json, os, sys, urllib.request
body = {"model": os.environ["OPENAI_MODEL"], "messages": [{"role": "user", "content": sys.argv[1]}]}
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    json.dumps(body).encode(),
    {"content-type": "application/json", "authorization": "Bearer " + os.environ["OPENAI_API_KEY"]},
)
reply = json.load(urllib.request.urlopen(request))
open("program.py", "w").write(reply["choices"][0]["message"]["content"])
"""
