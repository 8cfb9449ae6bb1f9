"""Rewards find what they are for whenever they come; a turn that is late commits while sealing has its grace."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.fidelity.agent import NEXT, USER, ask
from tests.fidelity.received import EPISODE, assert_exact, assert_one_row
from tests.fidelity.recorder import Recorder
from tests.gateways import Gateway

pytestmark = pytest.mark.engine
PATH = "/v1/chat/completions"
HEADERS = {"X-Turngate-Episode": EPISODE}
LONG: Any = {"messages": [USER], "max_tokens": 300, "ignore_eos": True}


@pytest.fixture
async def slow_clock(served: Gateway, redis_url: str) -> AsyncIterator[Store]:
    """The gateway's store as seen by a process whose clock is a second more than the grace behind."""
    behind = Timings().grace + 1
    store = Store.connect(redis_url, project=served.project, clock=lambda: time.time() - behind)
    yield store
    await store.close()


async def start(served: Gateway, recorder: Recorder, body: Any) -> asyncio.Task[httpx.Response]:
    """A call of which the engine has begun to stream the output."""
    call = asyncio.create_task(served.admin.post(PATH, json=body, headers=HEADERS))
    async with asyncio.timeout(30):
        while not recorder.calls or not recorder.calls[-1].ids:
            await asyncio.sleep(0.005)
    return call


async def reward(served: Gateway, **body: Any) -> int:
    answer = await served.admin.post(f"/v1/episodes/{EPISODE}/rewards", json=body)
    return answer.status_code


async def test_rewards_come_before_during_and_after_the_turns(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 27: each adds up whenever it came, one for a turn finds that turn, and none changes what trains."""
    opened = (await served.admin.post("/v1/episodes", json={})).json()
    episode_id = opened["id"]
    rewards = f"/v1/episodes/{episode_id}/rewards"
    await served.admin.post(rewards, json={"name": "before", "value": 1.0})
    answer = await ask(served, [USER], episode_id=episode_id)
    first = recorder.calls[0].rid.rsplit("-", 2)[0]
    body = {**LONG, "messages": [USER, answer["message"], NEXT], "stream": True}
    headers = {"X-Turngate-Episode": episode_id}
    async with served.admin.stream("POST", PATH, json=body, headers=headers) as streamed:
        lines = streamed.aiter_lines()
        await anext(lines)
        await served.admin.post(rewards, json={"name": "during", "value": 2.0, "turn_id": first})
        async for _ in lines:
            pass
    second = streamed.headers["x-turngate-turn"]
    await served.admin.post(f"/v1/episodes/{episode_id}/complete", json={})
    late = {"completion_id": f"chatcmpl-{second}", "name": "after", "value": 4.0}
    assert (await served.admin.post("/v1/rewards", json=late)).status_code == 200
    view = await served.store.episode(episode_id)
    assert view is not None
    assert view.rewards.turns == {first: 2.0, second: 4.0}
    assert (view.rewards.episode, view.rewards.total) == (1.0, 7.0)
    assert view.header.status == "rewarded"
    await assert_one_row(served, recorder.calls, episode_id)


async def test_a_turn_that_is_not_recorded_yet_has_no_address(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 27: a reward for a turn that is still streaming is refused; once it is recorded the same reward is taken."""
    body = {**LONG, "stream": True}
    async with served.admin.stream("POST", PATH, json=body, headers=HEADERS) as streamed:
        turn_id = streamed.headers["x-turngate-turn"]
        early = await reward(served, value=1.0, turn_id=turn_id)
        await streamed.aread()
    assert early == 404
    assert await reward(served, value=1.0, turn_id=turn_id) == 200


async def test_a_turn_begun_before_sealing_commits_within_the_grace(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 27: what was being sampled when the episode was completed and rewarded trains with it; a new call is 409."""
    await ask(served, [USER], max_tokens=8)
    late = await start(served, recorder, {**LONG, "stream": True})
    await reward(served, value=1.0)
    await served.admin.post(f"/v1/episodes/{EPISODE}/complete", json={})
    refused = await served.admin.post(PATH, json=LONG, headers=HEADERS)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "episode_sealed")
    assert (await late).text.endswith("data: [DONE]\n\n")
    assert len(recorder.calls) == 2
    await assert_exact(served, recorder.calls)


async def test_the_only_turn_of_an_episode_commits_within_the_grace(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 27: an episode completed and rewarded while its first turn is sampled waits for it, and trains with it."""
    late = await start(served, recorder, {**LONG, "stream": True})
    completed = await served.admin.post(f"/v1/episodes/{EPISODE}/complete", json={})
    assert (completed.json()["status"], completed.json()["disposition"]) == ("sealed", None)
    assert await reward(served, value=1.0) == 200
    assert (await late).text.endswith("data: [DONE]\n\n")
    view = await served.store.episode(EPISODE)
    assert view is not None
    assert view.header.status == "rewarded"
    await assert_exact(served, recorder.calls)


async def test_a_turn_that_ends_after_the_grace_is_refused(
    served: Gateway, recorder: Recorder, slow_clock: Store
) -> None:
    """Case 27: half a minute after sealing nothing more is recorded, and the client gets an error."""
    await ask(served, [USER], max_tokens=8)
    kept = list(recorder.calls)
    late = await start(served, recorder, LONG | {"stream": True})
    await slow_clock.seal(EPISODE)
    assert "episode_sealed" in (await late).text
    assert "[DONE]" not in (await late).text
    await assert_exact(served, kept)
