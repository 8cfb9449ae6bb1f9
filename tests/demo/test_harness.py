"""The demo's harness against a scripted gateway: admission, groups, and what counts as a failed request."""

import asyncio
from collections.abc import Callable
from itertools import islice
from uuid import uuid4

import pytest

from deploy.demo.clerk.tasks import Task, training_tasks
from deploy.demo.harness import GROUP_SIZE, Harness, Played
from deploy.demo.traffic import Traffic
from tests.clients.scripted_gateway import (
    Asked,
    Reply,
    ScriptedGateway,
    completion,
    scripted_gateway,
)

REFUSED = Reply({"error": {"message": "later"}}, status=429, headers={"retry-after": "0"})
BROKEN = Reply({"error": {"message": "broken"}}, status=500, headers={"x-should-retry": "false"})


def well(asked: Asked) -> Reply:
    """A gateway with which nothing is wrong."""
    if asked.path == "/v1/episodes":
        episode = f"ep_{asked.body['task_id']}_{uuid4().hex}"
        base_url = f"http://{asked.headers['host']}/e/{episode}/v1"
        return Reply({"id": episode, "base_url": base_url, "api_key": "tg-ep-1"}, status=201)
    if asked.path.endswith("/chat/completions"):
        headers = {"x-turngate-episode": asked.path.split("/")[2], "x-turngate-policy-version": "7"}
        return completion({"content": "12"}, headers=headers)
    return Reply({})


async def evaluate(gateway: ScriptedGateway, traffic: Traffic, tasks: int) -> list[Played]:
    played: list[Played] = []
    harness = Harness(gateway.root, "tg-key", traffic)
    await harness.evaluate(islice(training_tasks("t"), tasks), agents=2, note=played.append)
    await traffic.aclose()
    return played


def broken_at(path: str, reply: Reply | None, times: int) -> Callable[[Asked], Reply | None]:
    left = iter(range(times))
    return lambda asked: (
        reply if path in asked.path and next(left, None) is not None else well(asked)
    )


async def test_agent_gets_two_strings_and_ends_with_one_reward() -> None:
    """The agent's calls carry the episode's key and path, the reward the project's key; all of it is side traffic."""
    traffic = Traffic(connections=4)
    async with scripted_gateway(well) as gateway:
        (played,) = await evaluate(gateway, traffic, tasks=1)

    opened, call, reward = gateway.asked
    assert played == Played(reward=0.0, turns=1, output_tokens=6, version=7)
    assert (opened.headers["authorization"], call.headers["authorization"]) == (
        "Bearer tg-key",
        "Bearer tg-ep-1",
    )
    episode = call.path.split("/")[2]
    assert call.path == f"/e/{episode}/v1/chat/completions"
    assert opened.headers["x-turngate-turn-kind"] == call.headers["x-turngate-turn-kind"] == "side"
    assert reward.body == {
        "episode_id": episode,
        "value": 0.0,
        "complete": True,
    }
    assert (traffic.requests, traffic.requests_failed, traffic.served_versions) == (3, 0, {7})


async def test_back_pressure_is_waited_out_and_is_no_failure() -> None:
    """An episode that is refused for now is opened later, and nothing has failed."""
    traffic = Traffic(connections=4)
    async with scripted_gateway(broken_at("/v1/episodes", REFUSED, times=3)) as gateway:
        played = await evaluate(gateway, traffic, tasks=2)

    assert len(played) == 2
    assert gateway.paths().count("/v1/episodes") == 5
    assert traffic.requests_failed == 0


@pytest.mark.parametrize("fault", [BROKEN, None], ids=["server error", "connection lost"])
async def test_agent_that_fails_is_counted_and_the_others_play_on(fault: Reply | None) -> None:
    """A call that the SDK gives up on aborts its episode, counts as failed, and stops no other agent."""
    traffic = Traffic(connections=4)
    times = 3 if fault is None else 1  # the SDK tries a lost connection three times
    async with scripted_gateway(broken_at("ep_t-0_", fault, times)) as gateway:
        played = await evaluate(gateway, traffic, tasks=3)

    assert len(played) == 2
    assert traffic.requests_failed == times
    aborted = [asked.body for asked in gateway.asked if asked.path.endswith("/complete")]
    assert aborted == [{"status": "aborted"}]


async def test_failure_that_the_sdk_hides_is_counted() -> None:
    """A lost connection that a retry makes good is still a failed request."""
    traffic = Traffic(connections=4)
    async with scripted_gateway(broken_at("/chat/completions", None, times=1)) as gateway:
        played = await evaluate(gateway, traffic, tasks=1)

    assert len(played) == 1
    assert traffic.requests_failed == 1


async def test_refusal_of_a_turn_is_a_failure() -> None:
    """Back-pressure is for new episodes only: a turn that is answered 429 has failed."""
    traffic = Traffic(connections=4)
    async with scripted_gateway(broken_at("/chat/completions", REFUSED, times=1)) as gateway:
        await evaluate(gateway, traffic, tasks=1)

    assert traffic.failures == {"POST 429": 1}


async def test_groups_are_whole_and_share_a_task() -> None:
    """Eight episodes of one task under one group id; once closing, no new group is opened."""
    traffic, closing = Traffic(connections=16), asyncio.Event()
    played: list[Played] = []

    def note(episode: Played) -> None:
        played.append(episode)
        if len(played) == 2 * GROUP_SIZE:
            closing.set()

    async with scripted_gateway(well) as gateway:
        harness = Harness(gateway.root, "tg-key", traffic)
        await harness.train(training_tasks("t"), judge=Task.reward, closing=closing, note=note)
        await traffic.aclose()

    opened = [asked.body for asked in gateway.asked if asked.path == "/v1/episodes"]
    groups = {(body["group_id"], body["task_id"], body["group_size"]) for body in opened}
    assert len(opened) == len(played) == 2 * GROUP_SIZE
    assert len(groups) == 2
    assert {size for _, _, size in groups} == {GROUP_SIZE}


async def test_closing_ends_the_wait_for_admission() -> None:
    """Agents that wait for admission for a minute leave at once when the demo closes."""
    traffic, closing = Traffic(connections=4), asyncio.Event()
    refused = Reply({"error": {"message": "later"}}, status=429, headers={"retry-after": "60"})

    def answer(_: Asked) -> Reply:
        asyncio.get_running_loop().call_soon(closing.set)
        return refused

    async with asyncio.timeout(10), scripted_gateway(answer) as gateway:
        harness = Harness(gateway.root, "tg-key", traffic)
        await harness.train(
            training_tasks("t"), judge=Task.reward, closing=closing, note=lambda _: None
        )
        await traffic.aclose()

    assert gateway.paths() == ["/v1/episodes"]
