"""Limits of a key, counted in Redis for every gateway, by Redis's own clock."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from rollout.store.limit_transitions import CallLimits, StartedCall
from rollout.store.store import Store

WINDOW_SECONDS = 3.0


@pytest.fixture
async def stores(redis_url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two gateways' stores of one project."""
    project = f"test-{secrets.token_hex(4)}"
    pair = (Store.connect(redis_url, project=project), Store.connect(redis_url, project=project))
    yield pair
    for store in pair:
        await store.close()


async def start(store: Store, limits: CallLimits, call_id: str = "") -> StartedCall:
    return await store.start_call(limits, call_id)


async def test_two_gateways_share_one_limit(stores: tuple[Store, Store]) -> None:
    """Of 600 calls that race at two gateways, exactly the 200 of the limit pass, and the rest are told when to retry."""
    limits = CallLimits("key_1", requests=200)
    answers = await asyncio.gather(*(start(store, limits) for _ in range(300) for store in stores))
    admitted = [answer for answer in answers if not answer.refused_by]
    refused = [answer for answer in answers if answer.refused_by]
    assert len(admitted) == 200
    assert {answer.refused_by for answer in refused} == {"requests"}
    assert min(answer.requests_left for answer in admitted) == 0
    assert all(58 < answer.retry_seconds <= 61.1 for answer in refused)


async def test_no_window_has_more_than_the_limit(stores: tuple[Store, Store]) -> None:
    """Under pressure for two windows, calls pass at the limit's rate within 5 %, and never faster."""
    limits = CallLimits("key_1", requests=60, window_seconds=WINDOW_SECONDS)
    loop, passed = asyncio.get_running_loop(), []
    began = loop.time()

    async def press(store: Store) -> None:
        while loop.time() < began + 2.5 * WINDOW_SECONDS:
            sent = loop.time()
            if not (await start(store, limits)).refused_by:
                passed.append((sent, loop.time()))
            await asyncio.sleep(0.004)

    await asyncio.gather(*(press(store) for store in stores))
    within = [
        sum(sent >= begin and answered < begin + WINDOW_SECONDS for sent, answered in passed)
        for begin, _ in passed
    ]
    assert max(within) <= 60
    assert 3 * 60 * 0.95 <= len(passed) <= 3 * 60


async def test_tokens_are_settled_when_a_call_ends(stores: tuple[Store, Store]) -> None:
    """A call is refused once the minute's tokens are used; running calls count as the average of those before."""
    here, there = stores
    limits = CallLimits("key_1", tokens=1000)
    first = await start(here, limits, "c1")
    await here.end_call(limits, "c1", started=first, tokens=400)
    second = await start(there, limits, "c2")
    third = await start(here, limits, "c3")
    await there.end_call(limits, "c2", started=second, tokens=100)
    fourth = await start(there, limits, "c4")
    assert (first.expected_tokens, second.expected_tokens) == (125, 400)
    assert (second.tokens_left, third.refused_by) == (200, "tokens")
    assert 0 < third.retry_seconds <= 61.1
    assert fourth.refused_by == ""
    assert fourth.tokens_left == 1000 - 400 - 100 - fourth.expected_tokens


async def test_the_first_calls_of_a_key_do_not_all_pass_at_once(
    stores: tuple[Store, Store],
) -> None:
    """Nothing is known of their size, so eight run, and the ninth waits until one has shown what a call uses."""
    here, there = stores
    limits = CallLimits("key_1", tokens=1000)
    burst = [await start(here, limits, f"c{n}") for n in range(20)]
    await there.end_call(limits, "c0", started=burst[0], tokens=10)
    after = await start(here, limits, "after")
    assert [started.refused_by for started in burst] == [""] * 8 + ["tokens"] * 12
    assert (after.refused_by, after.expected_tokens) == ("", 10)


async def test_a_killed_gateways_calls_are_freed(stores: tuple[Store, Store]) -> None:
    """A call holds its place while its gateway renews it, and frees it by ending or by the gateway's death."""
    here, there = stores
    limits = CallLimits("key_1", concurrent=1)
    dying = await here.start_call(limits, "c1", lease_seconds=0.3)
    refused = await start(there, limits, "c2")
    await here.renew_calls([("key_1", "c1")], lease_seconds=0.5)
    await asyncio.sleep(0.35)
    still = await start(there, limits, "c2")
    async with asyncio.timeout(5):
        while (await start(there, limits, "c2")).refused_by:
            await asyncio.sleep(0.02)
    ended = await start(here, limits, "c3")
    await there.end_call(limits, "c2", started=dying, tokens=0)
    await here.renew_calls([("key_1", "c2")])  # by a gateway that has not noticed the end
    free = await start(here, limits, "c3")
    assert dying.refused_by == ""
    assert [refused.refused_by, still.refused_by, ended.refused_by] == ["concurrent"] * 3
    assert free.refused_by == ""


async def test_keys_and_kinds_do_not_mix(stores: tuple[Store, Store]) -> None:
    """A key's requests, its grammars and another key's requests are counted apart."""
    here, there = stores
    assert (await start(here, CallLimits("key_1", requests=1))).refused_by == ""
    assert (await start(there, CallLimits("key_2", requests=1))).refused_by == ""
    assert await here.use("grammars", "key_1", limit=1) == 0
    assert 0 < await there.use("grammars", "key_1", limit=1) <= 61.1
    assert (await start(there, CallLimits("key_1", requests=1))).refused_by == "requests"


@pytest.mark.parametrize("part", ["requests", "tokens", "running", "grammars"])
async def test_garbage_only_restarts_the_count(
    stores: tuple[Store, Store], redis_url: str, part: str
) -> None:
    """A record of another type or with senseless fields is no error for anybody."""
    here, _ = stores
    limits = CallLimits("key_1", requests=5, tokens=100, concurrent=5)
    name = f"turngate:{{{here.project}}}:limit.{part}:key_1"
    async with Redis.from_url(redis_url) as redis:
        await redis.set(name, "garbage")
        started = await start(here, limits, "c1")
        assert started.refused_by == ""
        await redis.delete(name)
        if part == "running":
            await redis.lpush(name, "x")
        else:
            await redis.hset(name, mapping={"mean": "x", "slot": "y", "12": "z"})
        await here.end_call(limits, "c1", started=started, tokens=5)
        assert (await start(here, limits, "c2")).refused_by == ""
        assert await here.use("grammars", "key_1", limit=1) == 0
