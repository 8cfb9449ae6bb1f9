"""The coding recipe with the real mini-swe-agent, in its own environment."""

import asyncio
from pathlib import Path

import pytest

from clients.examples.coding_agent.__main__ import MINI, repair
from clients.examples.coding_agent.problems import PROBLEMS
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateways import ADMIN_KEY, StartGateway
from tests.runtimes.scripted_model import ScriptedModel
from tests.runtimes.table import OWN_PYTHON, commands
from tests.scripted_engine import running_engine
from turngate import Episode, Row, Turngate, graders, rollouts

REPAIR = r"printf 'def mean(n):\n    return sum(n) / len(n) if n else 0.0\n' > program.py"
SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


@pytest.mark.runtimes
async def test_mini_swe_agent_repairs_a_program_in_one_episode(
    start_gateway: StartGateway, wide_dir: Path
) -> None:
    """Two commands are two turns of one episode, which the hidden tests reward."""

    @graders.unit_tests()
    def agent(episode: Episode, row: Row) -> str:
        return repair(episode, row, [OWN_PYTHON, str(MINI)])

    async with running_engine() as engine:
        model = ScriptedModel(Tokenizer.load(wide_dir), commands("bash", REPAIR, SUBMIT))
        engine.policy = model.steps
        async with start_gateway(engine, model_dir=wide_dir) as gateway:
            with Turngate(gateway.url, ADMIN_KEY) as turngate:
                (attempt,) = await asyncio.to_thread(
                    rollouts, PROBLEMS[:1], agent, group_size=1, progress=None, turngate=turngate
                )
                shown = await asyncio.to_thread(turngate.get_episode, attempt.episode)

    assert (attempt.error, attempt.reward) == (None, 1.0)
    assert len(shown.turns) == 2
