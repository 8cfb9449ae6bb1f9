"""A trainer is never idle for long while callers are refused, whatever keeps the places of admission."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import pytest

from rollout.episode.episode_status import DiscardReason
from rollout.store.store import Store
from tests.gateway.api.playing import BODY, CHAT
from tests.gateways import Gateway, StartGateway
from tests.profiles import per_profile
from tests.scripted_engine import ScriptedEngine

LIMITS = {"max_live_episodes": 16, "max_live_episodes_per_key": 8}
SILENCE_SECONDS = 0.5
# Without a call for SILENCE_SECONDS, or 2 seconds after it failed, an episode gives its place back; a refused caller waits for
# 1 second. The rest is for a busy machine; the default silence of 60 seconds would not fit.
MOST_SECONDS = 15.0
Caller = Callable[["Client"], Awaitable[object]]


@dataclass
class Client:
    """One key, and what became of its calls."""

    http: httpx.AsyncClient
    num_refused: int = 0
    numbers: Iterator[int] = field(default_factory=count)

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response | None:
        """The answer; None for a refusal, after the time that it asks for, or less."""
        answer = await self.http.post(path, json=body, headers=headers)
        if answer.status_code != 429:
            assert answer.is_success, answer.text
            return answer
        self.num_refused += 1
        await asyncio.sleep(0.2)
        return None

    async def member(self, **fields: Any) -> str | None:
        """An episode that took one turn."""
        opened = await self.post("/v1/episodes", fields)
        if opened is None:
            return None
        episode = str(opened.json()["id"])
        taken = await self.post(CHAT, BODY, **{"X-Turngate-Episode": episode})
        return episode if taken else None


async def calls_without_carrier(client: Client) -> None:
    await client.post(CHAT, {"messages": [{"role": "user", "content": f"{next(client.numbers)}"}]})
    await asyncio.sleep(0.02)


async def falls_silent(client: Client) -> None:
    await client.member(group_size=4)


async def opens_and_never_calls(client: Client) -> None:
    await client.post("/v1/episodes", {"group_size": 8})


async def fails(client: Client) -> None:
    if episode := await client.member(group_size=4):
        await client.post(f"/v1/episodes/{episode}/complete", {"status": "failed"})


KINDS = (calls_without_carrier, falls_silent, opens_and_never_calls, fails)


async def works(client: Client) -> None:
    """Two members of one group, to their rewards."""
    group = f"g{next(client.numbers)}"
    for number in range(2):
        episode = None
        while episode is None:
            episode = await client.member(group_id=group, group_size=2)
        await client.post(f"/v1/episodes/{episode}/rewards", {"value": number, "complete": True})


@asynccontextmanager
async def client_of(served: Gateway) -> AsyncIterator[Client]:
    made = (await served.admin.post("/v1/keys", json={"scopes": ["infer", "reward"]})).json()
    headers = {"authorization": f"Bearer {made['key']}"}
    async with httpx.AsyncClient(
        base_url=served.url, headers=headers, trust_env=False, timeout=60
    ) as http:
        yield Client(http)


@asynccontextmanager
async def always(served: Gateway, caller: Caller) -> AsyncIterator[Client]:
    """A caller that begins again whenever it ends."""

    async def run() -> None:
        while True:
            await caller(client)

    async with client_of(served) as client:
        running = asyncio.create_task(run())
        yield client
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def train(store: Store, *, batches: int) -> list[float]:
    """Claim groups as a trainer does; the seconds that it waited for each."""
    waits: list[float] = []
    began = time.monotonic()
    while len(waits) < batches:
        claims = await store.claim(
            "trainer", groups=1, version=0, max_staleness=9, lease_seconds=30
        )
        if not claims:
            await store.wait_ready(0.2)
            continue
        waits.append(time.monotonic() - began)
        ids = [claim.group_id for claim in claims]
        await store.discard("trainer", ids, reason=DiscardReason.NO_SIGNAL)
        began = time.monotonic()
    return waits


@pytest.mark.parametrize("kinds", per_profile(ci=[KINDS], nightly=[KINDS, *((k,) for k in KINDS)]))
async def test_a_trainer_does_not_idle_while_callers_are_refused(
    start_gateway: StartGateway, scripted: ScriptedEngine, kinds: Sequence[Caller]
) -> None:
    """Callers without a carrier, silent, unopened and failed members are given up, so that work goes on and is claimed."""
    async with (
        start_gateway(scripted, silence_seconds=SILENCE_SECONDS) as served,
        AsyncExitStack() as running,
        asyncio.timeout(120),
    ):
        await served.store.set_training(LIMITS)
        idlers = [
            await running.enter_async_context(always(served, kind))
            for kind in kinds
            for _ in range(4)
        ]
        await asyncio.sleep(2 * SILENCE_SECONDS)  # they hold all places by now
        worker = await running.enter_async_context(always(served, works))
        waits = await train(served.store, batches=4)
    assert max(waits) < MOST_SECONDS, waits
    if kinds != (calls_without_carrier,):  # who holds no place is in nobody's way
        assert worker.num_refused + sum(idler.num_refused for idler in idlers) > 0
