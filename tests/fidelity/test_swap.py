"""Weights that change under a turn: every token carries the version that sampled it, as the engine reports it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from rollout.engine.engine import Engine
from rollout.engine.swap import swap
from rollout.episode.turn import VersionInterval
from rollout.policies import PolicyStore
from tests.engines import borrowed, two_policies
from tests.fidelity.agent import NEXT, USER, ask
from tests.fidelity.received import EPISODE, assert_one_row
from tests.fidelity.recorder import Recorder
from tests.gateways import Gateway

pytestmark = pytest.mark.engine
NUM_TOKENS = 400


@pytest.fixture
def policies(model_dir: Path, tmp_path: Path) -> PolicyStore:
    return two_policies(model_dir, tmp_path / "policies")


@pytest.fixture
async def control(engine: str, policies: PolicyStore) -> AsyncIterator[Engine]:
    """The shared engine, given back as it was."""
    async with borrowed(engine, policies.policy(0)) as control:
        yield control


async def test_a_turn_under_a_swap_says_who_sampled_each_token(
    served: Gateway, recorder: Recorder, control: Engine, policies: PolicyStore
) -> None:
    """Case 22: a turn that streams through a swap is one output of two versions, split where the engine split it."""
    body = {"messages": [USER], "max_tokens": NUM_TOKENS, "ignore_eos": True, "stream": True}
    headers = {"X-Turngate-Episode": EPISODE}
    async with served.admin.stream(
        "POST", "/v1/chat/completions", json=body, headers=headers
    ) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await (
            control.pause()
        )  # at once: a swap reads the new weights first, and the turn would be over
        swapping = asyncio.create_task(swap([control], policies.policy(7)))
        rest = [line async for line in lines]
    assert all(result.ok for result in await swapping)
    assert rest[-2:] == ["data: [DONE]", ""]
    row = await assert_one_row(served, recorder.calls)
    (turn,) = await served.store.turns(EPISODE)
    split = recorder.calls[0].versions.index(7)
    assert 0 < split < NUM_TOKENS
    assert turn.outputs[0].versions == (
        VersionInterval(0, 0, split),
        VersionInterval(7, split, NUM_TOKENS),
    )
    assert np.flatnonzero(np.diff(row.versions[row.action_mask])).tolist() == [split - 1]


async def test_turns_before_and_after_a_swap_are_one_row_of_two_versions(
    served: Gateway, recorder: Recorder, control: Engine, policies: PolicyStore
) -> None:
    """Case 22: the next turn continues the ids of the old version, and staleness counts from the oldest of them."""
    answer = await ask(served, [USER], max_tokens=8, ignore_eos=True)
    assert all(result.ok for result in await swap([control], policies.policy(7)))
    await ask(served, [USER, answer["message"], NEXT], max_tokens=8, ignore_eos=True)
    row = await assert_one_row(served, recorder.calls)
    assert row.versions[row.action_mask].tolist() == [0] * 8 + [7] * 8
    view = await served.store.episode(EPISODE)
    assert view is not None
    assert (view.header.min_version, view.header.max_version) == (0, 7)
