"""Limits of a key at two gateways, with the headers that tell a caller about them."""

import asyncio
from typing import Any

import httpx
from redis.asyncio import Redis

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine, Wait

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}


async def limited(gateway: Gateway, **limits: int) -> dict[str, str]:
    """The headers of a new key with these limits."""
    answer = await gateway.admin.post("/v1/keys", json=limits)
    assert answer.status_code == 201, answer.text
    assert limits.items() <= answer.json().items()
    return {"authorization": f"Bearer {answer.json()['key']}"}


async def at_each(
    pair: tuple[Gateway, ...], count: int, key: dict[str, str]
) -> list[httpx.Response]:
    """So many calls, each at the next gateway."""
    return [
        await pair[number % len(pair)].admin.post(CHAT, json=BODY, headers=key)
        for number in range(count)
    ]


async def counted(gateway: Gateway, redis_url: str, tokens: int) -> None:
    """Wait until the project's only limited key has used so many tokens: a call is counted after its answer."""

    async def is_so() -> bool:
        async with Redis.from_url(redis_url) as redis:
            pattern = f"turngate:{{{gateway.project}}}:limit.tokens:*"
            (name,) = [name async for name in redis.scan_iter(pattern)]
            used = await redis.hgetall(name)
        return sum(int(each) for slot, each in used.items() if slot != b"mean") == tokens

    await eventually(is_so, seconds=30)


async def test_four_a_minute_are_four_at_two_gateways(served: Gateway, other: Gateway) -> None:
    """The fifth call is 429 at either gateway, with the seconds to wait, and the headers count down."""
    key = await limited(served, requests_per_minute=4)
    answers = await at_each((served, other), 8, key)
    statuses = [answer.status_code for answer in answers]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    refused = answers[-1]
    assert statuses == [200] * 4 + [429] * 4
    assert left == ["3", "2", "1", "0", "0", "0", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"4"}
    assert 1 <= int(refused.headers["retry-after"]) <= 62
    assert 0 < float(refused.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 61.1
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"


async def test_calls_of_every_kind_count(served: Gateway, other: Gateway) -> None:
    """A key's control calls and the calls of the episodes that it opened count against it, at every gateway."""
    key = await limited(served, requests_per_minute=3)
    opened = await served.admin.post("/v1/episodes", json={}, headers=key)
    episode = {"authorization": f"Bearer {opened.json()['api_key']}"}
    turns = [
        (await gateway.admin.post(CHAT, json=BODY, headers=episode)).status_code
        for gateway in (other, served, other)
    ]
    listed = await served.admin.get("/v1/episodes", headers=key)
    assert opened.headers["x-ratelimit-remaining-requests"] == "2"
    assert turns == [200, 200, 429]
    assert listed.status_code == 429
    assert listed.json()["error"]["type"] == "rate_limit_error"


async def test_tokens_a_minute(served: Gateway, other: Gateway, redis_url: str) -> None:
    """Once prompts and outputs have used the minute's tokens, calls are 429 everywhere; the headers tell the rest."""
    usage = (await served.admin.post(CHAT, json=BODY)).json()["usage"]["total_tokens"]
    key = await limited(served, tokens_per_minute=3 * usage)
    statuses, left = [], []
    for number in range(5):
        answer = await (served, other)[number % 2].admin.post(CHAT, json=BODY, headers=key)
        statuses.append(answer.status_code)
        left.append(int(answer.headers["x-ratelimit-remaining-tokens"]))
        await counted(served, redis_url, usage * min(number + 1, 3))
    assert statuses == [200, 200, 200, 429, 429]
    assert left == [3 * usage - 8, usage, 0, 0, 0]  # the first call counts an eighth of the limit


async def test_calls_that_sample_nothing_use_no_tokens(served: Gateway) -> None:
    """A call that is refused and the repeat of one that is recorded leave the minute's tokens as they are."""
    key = await limited(served, tokens_per_minute=100_000)
    once = key | {"idempotency-key": "once"}
    first = await served.admin.post(CHAT, json=BODY, headers=once)
    used = first.json()["usage"]["total_tokens"]
    refused = await served.admin.post(CHAT, json=BODY | {"messages": []}, headers=key)
    repeated = await served.admin.post(CHAT, json=BODY, headers=once)

    async def left() -> int:
        answer = await served.admin.post(CHAT, json=BODY | {"messages": []}, headers=key)
        await asyncio.sleep(0.05)  # the call is settled after its answer
        return int(answer.headers["x-ratelimit-remaining-tokens"])

    assert refused.status_code == 400
    assert repeated.json() == first.json()
    await left()
    assert await left() == 100_000 - 2 * used  # what was used, and what this call was expected to


async def test_an_aborted_stream_uses_its_tokens(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A client that leaves a stream has used its prompt and what was sampled."""
    key = await limited(served, tokens_per_minute=100_000)
    wait = Wait(asyncio.Event())
    scripted.script(*spell(tokenizer, "Hello there."), wait, end_of_turn(tokenizer))
    body = BODY | {"stream": True}
    async with served.admin.stream("POST", CHAT, json=body, headers=key) as stream:
        await anext(stream.aiter_lines())
        await wait.reached.wait()

    async def used() -> int:
        answer = await served.admin.post(CHAT, json=BODY, headers=key)
        return 100_000 - int(answer.headers["x-ratelimit-remaining-tokens"])

    assert await eventually(used) > 5


async def test_calls_at_a_time(
    served: Gateway, other: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """With one call running, a second is 429 at the other gateway, until the first has ended."""
    key = await limited(served, max_concurrent=1)
    wait = Wait(asyncio.Event())
    scripted.script(wait, end_of_turn(tokenizer))
    running = asyncio.create_task(served.admin.post(CHAT, json=BODY, headers=key))
    await wait.reached.wait()
    refused = await other.admin.post(CHAT, json=BODY, headers=key)
    wait.event.set()
    ended = await running

    async def admitted() -> bool:
        return (await other.admin.post(CHAT, json=BODY, headers=key)).status_code == 200

    assert await eventually(admitted)
    assert (ended.status_code, refused.status_code) == (200, 429)
    assert refused.json()["error"]["code"] == "too_many_concurrent_requests"
    assert int(refused.headers["retry-after"]) == 1


async def test_grammars_a_minute(served: Gateway, other: Gateway) -> None:
    """Calls under a grammar have a limit of their own; a call without one passes."""
    key = await limited(served, grammars_per_minute=1)
    body = BODY | {"regex": "Hello there\\."}
    first = await served.admin.post(CHAT, json=body, headers=key)
    second = await other.admin.post(CHAT, json=body, headers=key)
    plain = await other.admin.post(CHAT, json=BODY, headers=key)
    assert [answer.status_code for answer in (first, second, plain)] == [200, 429, 200]
    assert 1 <= int(second.headers["retry-after"]) <= 62


async def test_open_episodes(served: Gateway, other: Gateway) -> None:
    """A key with two open episodes opens no third at either gateway, by no way, until one is completed or deleted."""
    key = await limited(served, max_open_episodes=2)
    opened = (await served.admin.post("/v1/episodes", json={}, headers=key)).json()
    side = key | {"X-Turngate-Turn-Kind": "side"}
    by_call = await other.admin.post(CHAT, json=BODY, headers=side)
    refused = [
        await other.admin.post("/v1/episodes", json={}, headers=key),
        await served.admin.post(CHAT, json=BODY, headers=key),
    ]
    known = await other.admin.post(f"/e/{opened['id']}{CHAT}", json=BODY, headers=key)
    path = f"/v1/episodes/{by_call.headers['x-turngate-episode']}"
    await served.admin.post(f"{path}/complete")
    third = await other.admin.post("/v1/episodes", json={}, headers=key)
    await served.admin.delete(f"/v1/episodes/{opened['id']}")
    fourth = await other.admin.post("/v1/episodes", json={}, headers=key)
    fifth = await other.admin.post("/v1/episodes", json={}, headers=key)
    assert (by_call.status_code, known.status_code) == (200, 200)
    assert [answer.status_code for answer in refused] == [429, 429]
    assert refused[0].json()["error"]["code"] == "too_many_open_episodes"
    assert (third.status_code, fourth.status_code, fifth.status_code) == (201, 201, 429)


async def test_a_key_without_limits_costs_nothing(served: Gateway, redis_url: str) -> None:
    """It has no headers of limits, and nothing about it is in Redis."""
    key = await limited(served)
    answer = await served.admin.post(CHAT, json=BODY, headers=key)
    async with Redis.from_url(redis_url) as redis:
        names = [name async for name in redis.scan_iter(f"turngate:{{{served.project}}}:limit*")]
    assert not any(name.startswith("x-ratelimit") for name in answer.headers)
    assert names == []
