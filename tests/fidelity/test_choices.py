"""Several choices of one turn: all are recorded, and those train that the agent used or a reward names."""

from typing import Any

import pytest

from tests.fidelity.agent import NEXT, USER, ask
from tests.fidelity.received import EPISODE, assert_exact
from tests.fidelity.recorder import EngineCall, Recorder
from tests.gateways import Gateway

pytestmark = pytest.mark.engine


async def ask_for(served: Gateway, num_choices: int) -> dict[str, Any]:
    answer = await served.admin.post(
        "/v1/chat/completions",
        headers={"X-Turngate-Episode": EPISODE},
        json={"messages": [USER], "n": num_choices, "max_tokens": 12},
    )
    assert len(answer.json()["choices"]) == num_choices, answer.text
    return answer.json()


def by_choice(calls: list[EngineCall]) -> list[EngineCall]:
    """The calls of one turn; the gateway names them `<turn>-<output>-<attempt>`."""
    return sorted(calls, key=lambda call: int(call.rid.split("-")[-2]))


async def test_choices_are_siblings_below_one_prompt(served: Gateway, recorder: Recorder) -> None:
    """Case 17: four samples of one prompt are four rows, which train alike while nothing tells them apart."""
    await ask_for(served, 4)
    rows = await assert_exact(served, recorder.calls)
    (turn,) = await served.store.turns(EPISODE)
    assert [output.ids.tolist() for output in turn.outputs] == [
        call.ids for call in by_choice(recorder.calls)
    ]
    assert len(rows) == 4


async def test_a_choice_that_was_passed_over_trains_only_once_a_reward_names_it(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 17: the agent goes on with its third choice; a reward for the first lets that one train too."""
    completion = await ask_for(served, 4)
    first, _, third, _ = by_choice(recorder.calls)
    chosen = completion["choices"][2]["message"]
    await ask(served, [USER, chosen, NEXT])
    going_on = recorder.calls[-1]
    (row,) = await assert_exact(served, [third, going_on])
    assert row.tokens[: len(third.prompt + third.ids)].tolist() == third.prompt + third.ids
    reward = {"completion_id": completion["id"], "choice_index": 0, "value": 0.25}
    answer = await served.admin.post("/v1/rewards", json=reward)
    assert (answer.json()["choice_index"], answer.json()["value"]) == (0, 0.25)
    assert len(await assert_exact(served, [first, third, going_on])) == 2


async def test_a_reward_of_the_episode_or_the_turn_is_for_the_choice_that_was_used(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 17: rewards that name no choice say nothing about those that were passed over."""
    completion = await ask_for(served, 3)
    used = by_choice(recorder.calls)[1]
    await ask(served, [USER, completion["choices"][1]["message"], NEXT])
    for place in ({"completion_id": completion["id"]}, {"episode_id": EPISODE}):
        answer = await served.admin.post("/v1/rewards", json={**place, "value": 1.0})
        assert answer.status_code == 200, answer.text
    await assert_exact(served, [used, recorder.calls[-1]])


async def test_rewards_tell_the_choices_of_a_last_turn_apart(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 17: of choices with which nobody went on only the rewarded ones train, once a reward names one."""
    completion = await ask_for(served, 3)
    calls = by_choice(recorder.calls)
    for index in (0, 2):
        reward = {"completion_id": completion["id"], "choice_index": index, "value": index}
        await served.admin.post("/v1/rewards", json=reward)
    await assert_exact(served, [calls[0], calls[2]])


async def test_a_reward_for_a_choice_that_was_never_sampled_is_refused(served: Gateway) -> None:
    """Case 17: it would reach nothing, and its sender would not know."""
    completion = await ask_for(served, 2)
    for place, status in (
        ({"completion_id": completion["id"], "choice_index": 2}, 404),
        ({"episode_id": EPISODE, "choice_index": 0}, 400),
    ):
        answer = await served.admin.post("/v1/rewards", json={**place, "value": 1.0})
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, "choice_index")
    view = await served.store.episode(EPISODE)
    assert view is not None
    assert view.rewards.values == {}
