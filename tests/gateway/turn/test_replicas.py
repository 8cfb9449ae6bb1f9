"""Two gateways of one store: a call that is repeated at the other one has one effect."""

import asyncio
import json
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import Gateway, end_of_turn, eventually, spell
from tests.gateways import StartGateway
from tests.profiles import per_profile
from tests.scripted_engine import ScriptedEngine, Wait

PATH = "/v1/chat/completions"
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
NAMED = {"X-Turngate-Episode": "ep_1", "Idempotency-Key": "k1"}
NUM_PAIRS = per_profile(ci=25, nightly=1000)


def post(gateway: Gateway, **options: Any) -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(gateway.admin.post(PATH, **options))


async def joined(gateway: Gateway, redis_url: str, key: str) -> None:
    """Wait until a repeat of this call waits for its sample, which only the lease of the call shows."""

    async def is_wanted() -> bool:
        async with Redis.from_url(redis_url) as redis:
            leases = f"turngate:{{{gateway.project}}}:ep.leases:ep_1"
            packed = await redis.hget(leases, f"key:{key}")
        return packed is not None and any(msgspec.msgpack.decode(packed)[3:])

    await eventually(is_wanted, seconds=30)


async def sampled_once(
    pair: tuple[Gateway, Gateway],
    wait: Wait,
    redis_url: str,
    *,
    headers: dict[str, str],
    json: Any = BODY,
) -> list[asyncio.Task[httpx.Response]]:
    """A call that waits in the engine behind the first gateway, and its repeat that waits for it behind the second."""
    calls = [post(pair[0], json=json, headers=headers)]
    await wait.reached.wait()
    calls.append(post(pair[1], json=json, headers=headers))
    await joined(pair[0], redis_url, headers["Idempotency-Key"])
    return calls


async def at_both(pair: tuple[Gateway, Gateway], path: str, **options: Any) -> list[httpx.Response]:
    """The same call at both gateways at the same time."""
    return list(await asyncio.gather(*(gateway.admin.post(path, **options) for gateway in pair)))


async def test_a_repeat_at_the_other_gateway_waits_for_the_one_sample(
    served: Gateway,
    other: Gateway,
    scripted: ScriptedEngine,
    tokenizer: Tokenizer,
    redis_url: str,
) -> None:
    """A call that is sampled behind one gateway answers its repeat behind another, streamed or not."""
    for stream in (False, True):
        scripted.forget()
        wait = Wait(asyncio.Event())
        scripted.script(wait, *spell(tokenizer, "once"), end_of_turn(tokenizer))
        headers = NAMED | {"Idempotency-Key": f"k{stream}"}
        calls = await sampled_once(
            (served, other), wait, redis_url, headers=headers, json=BODY | {"stream": stream}
        )
        wait.event.set()
        turns = {(await call).headers["x-turngate-turn"] for call in calls}
        assert len(turns) == 1
        assert len(scripted.requests) == 1


async def test_a_turn_outlives_its_client_for_a_repeat_at_the_other_gateway(
    served: Gateway,
    other: Gateway,
    scripted: ScriptedEngine,
    tokenizer: Tokenizer,
    redis_url: str,
) -> None:
    """A client that gives up one gateway and asks the other gets the sample that was begun for it."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, *spell(tokenizer, "once"), end_of_turn(tokenizer))
    first, repeat = await sampled_once((served, other), wait, redis_url, headers=NAMED)
    first.cancel()
    await asyncio.sleep(0.3)  # nothing shows when the gateway sees that the client has left
    wait.event.set()
    answer = await repeat
    assert answer.json()["choices"][0]["message"]["content"] == "once"
    assert scripted.aborted == []
    assert len(scripted.requests) == 1


async def test_a_turn_whose_repeat_left_too_is_aborted(
    served: Gateway, other: Gateway, scripted: ScriptedEngine, redis_url: str
) -> None:
    """When the client has left both gateways, the engine stops sampling."""
    wait = Wait(asyncio.Event())
    scripted.script(wait)
    first, repeat = await sampled_once((served, other), wait, redis_url, headers=NAMED)
    first.cancel()
    repeat.cancel()
    await asyncio.wait_for(scripted.was_aborted.wait(), 60)
    assert len(scripted.requests) == 1


@pytest.mark.timeout(per_profile(ci=300, nightly=3600))
async def test_every_idempotent_call_that_races_has_one_effect(
    served: Gateway, other: Gateway, scripted: ScriptedEngine
) -> None:
    """Both gateways get the same calls at the same time: one turn, one episode, one reward, one end."""
    pair = (served, other)
    for number in range(NUM_PAIRS):
        key = {"Idempotency-Key": f"pair {number}"}
        opened = await at_both(pair, "/v1/episodes", json={"task_id": "t"}, headers=key)
        (episode,) = {answer.json()["id"] for answer in opened}
        in_episode = key | {"X-Turngate-Episode": episode}
        named = await at_both(pair, PATH, json=BODY, headers=in_episode)
        assert len({answer.headers["x-turngate-turn"] for answer in named}) == 1
        alone = await at_both(pair, PATH, json=BODY, headers=key)
        assert len({answer.headers["x-turngate-turn"] for answer in alone}) == 1
        reward = {"episode_id": episode, "value": 1.0, "idempotency_key": "r"}
        for path, body in (
            ("/v1/rewards", reward),
            (f"/v1/episodes/{episode}/complete", {}),
        ):
            first, second = await at_both(pair, path, json=body)
            assert first.json() == second.json()
            assert first.status_code == 200
    totals = await served.store.totals()
    assert (totals.opened, totals.reward_count) == (2 * NUM_PAIRS, NUM_PAIRS)
    assert len(scripted.requests) == 2 * NUM_PAIRS


async def test_a_key_opens_one_episode_and_takes_no_other_body(
    served: Gateway, other: Gateway
) -> None:
    """A repeated opening gets the same episode and API key; another body under its key is refused."""
    key = {"Idempotency-Key": "open"}
    first = await served.admin.post("/v1/episodes", json={"task_id": "a"}, headers=key)
    again = await other.admin.post("/v1/episodes", json={"task_id": "a"}, headers=key)
    assert (again.json()["id"], again.json()["api_key"]) == (
        first.json()["id"],
        first.json()["api_key"],
    )
    different = await other.admin.post("/v1/episodes", json={"task_id": "b"}, headers=key)
    assert (different.status_code, different.json()["error"]["code"]) == (
        409,
        "idempotency_key_reused",
    )


async def test_a_gateway_that_stops_leaves_the_call_to_the_repeat(
    start_gateway: StartGateway, served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A gateway that is stopped while it samples withdraws the turn, and a repeat elsewhere samples at once."""
    wait = Wait(asyncio.Event())
    scripted.script(wait)
    async with start_gateway(scripted, project=served.project, shutdown_seconds=0.1) as stopping:
        first = post(stopping, json=BODY, headers=NAMED)
        await wait.reached.wait()
    await asyncio.wait([first])
    answer = await served.admin.post(PATH, json=BODY, headers=NAMED)
    assert json.loads(answer.text)["choices"][0]["message"]["content"] == "Hello there."
    turns = await eventually(lambda: served.store.turns("ep_1"))
    assert [turn.id for turn in turns] == [answer.headers["x-turngate-turn"]]
