"""Two workers of one parent, seen from outside: they share calls, answer as one, and come and go unnoticed."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psutil
import pytest
import pytest_asyncio

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateway.workers.running import (
    BODY,
    HEADERS,
    PATH,
    START_SECONDS,
    Workers,
    running_workers,
)
from tests.scripted_engine import ScriptedEngine, Wait, running_engine

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUM_CONNECTIONS = 8
PAUSE_SECONDS = 0.02  # between two calls, in which new workers find time to start


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine_of_pair(tokenizer: Tokenizer) -> AsyncIterator[ScriptedEngine]:
    async with running_engine() as engine:
        engine.default = (*spell(tokenizer, "Hello there."), end_of_turn(tokenizer))
        yield engine


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pair(
    engine_of_pair: ScriptedEngine,
    redis_url: str,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Workers]:
    directory = tmp_path_factory.mktemp("workers")
    async with running_workers(
        directory,
        engine_of_pair.url,
        redis_url=redis_url,
        model_dir=model_dir,
        TURNGATE_GATEWAY_ADMIN_LISTENER="metrics",
        TURNGATE_GATEWAY_SHUTDOWN_SECONDS="60",
    ) as running:
        yield running


async def clients(pair: Workers, stack: AsyncExitStack, count: int) -> list[httpx.AsyncClient]:
    """So many, each with a connection that stays open."""
    opened = [await stack.enter_async_context(pair.client()) for _ in range(count)]
    await asyncio.gather(*(client.get("/healthz") for client in opened))
    return opened


def connections(pair: Workers) -> Counter[int]:
    """How many connections each worker holds, as the kernel sees it."""
    port = httpx.URL(pair.url).port
    return Counter(
        pid
        for pid in pair.pids
        for each in psutil.Process(pid).net_connections("tcp")
        if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
    )


async def spread_clients(
    pair: Workers, stack: AsyncExitStack, *, each: int
) -> list[httpx.AsyncClient]:
    """As many at each worker. One that gets no core for a while is passed over, so this is tried until it is so."""

    async def opened() -> list[httpx.AsyncClient]:
        async with AsyncExitStack() as trial:
            found = await clients(pair, trial, 2 * each)
            if sorted(connections(pair).values()) != [each] * 2:
                return []
            stack.push_async_callback(trial.pop_all().aclose)
            return found

    return await eventually(opened, seconds=30)


async def test_few_connections_that_stay_open_are_shared_evenly(pair: Workers) -> None:
    """Eight are four for each, unless a worker is busy elsewhere."""
    async with AsyncExitStack() as stack:
        assert await spread_clients(pair, stack, each=NUM_CONNECTIONS // 2)


async def test_any_scrape_answers_for_all_workers(pair: Workers) -> None:
    """Each turn is counted once, whichever worker took it and whichever is asked."""
    before = await pair.total("turngate_turns_total")
    async with AsyncExitStack() as stack:
        for client in await clients(pair, stack, NUM_CONNECTIONS):
            assert (await client.post(PATH, json=BODY)).is_success
    seen = [await pair.total("turngate_turns_total") for _ in range(4)]
    assert seen == [before + NUM_CONNECTIONS] * 4
    assert await pair.total("turngate_store_up") == 1


async def test_admins_have_one_address(pair: Workers) -> None:
    """With the setting, the listener of the metrics answers them; a key that is made there is known to all workers."""
    async with httpx.AsyncClient(base_url=pair.metrics_root, trust_env=False) as operations:
        made = await operations.post("/v1/keys", json={"name": "a"}, headers=HEADERS)
    key = {"authorization": f"Bearer {made.json()['key']}"}
    async with AsyncExitStack() as stack:
        for client in await clients(pair, stack, 4):
            assert (await client.get("/v1/models", headers=key)).is_success
            assert (await client.post("/v1/keys", json={})).status_code == 404


async def test_a_repeat_at_the_other_worker_joins_the_call(
    pair: Workers, engine_of_pair: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A call and its repeat over connections of both workers are one turn, sampled once."""
    engine_of_pair.forget()
    wait = Wait(asyncio.Event())
    engine_of_pair.script(wait, *spell(tokenizer, "once"), end_of_turn(tokenizer))
    named = {"X-Turngate-Episode": "ep_joined", "Idempotency-Key": "k1"}
    async with AsyncExitStack() as stack:
        both = await spread_clients(pair, stack, each=1)
        calls = [asyncio.create_task(both[0].post(PATH, json=BODY, headers=named))]
        await wait.reached.wait()
        calls.append(asyncio.create_task(both[1].post(PATH, json=BODY, headers=named)))
        await asyncio.sleep(0.3)  # it joins in silence
        wait.event.set()
        answers = [await call for call in calls]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.headers["x-turngate-turn"] for answer in answers}) == 1
    assert len(engine_of_pair.requests) == 1


async def test_a_limit_holds_for_all_workers(pair: Workers) -> None:
    """A key of four calls a minute has four, over whichever connections."""
    async with httpx.AsyncClient(base_url=pair.metrics_root, trust_env=False) as operations:
        limits = {"name": "b", "requests_per_minute": 4}
        made = await operations.post("/v1/keys", json=limits, headers=HEADERS)
    key = {"authorization": f"Bearer {made.json()['key']}"}
    async with AsyncExitStack() as stack:
        opened = await spread_clients(pair, stack, each=2)
        answers = [await client.post(PATH, json=BODY, headers=key) for client in opened * 2]
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 4, 429: 4}


async def test_a_worker_that_dies_is_replaced_and_what_it_counted_stays(pair: Workers) -> None:
    """The other one answers meanwhile, and no counter falls."""
    before, (killed, other) = await pair.total("turngate_turns_total"), sorted(pair.pids)
    psutil.Process(killed).kill()

    async def is_replaced() -> bool:
        async with AsyncExitStack() as stack:
            (client, _) = await clients(pair, stack, 2)
            assert (await client.post(PATH, json=BODY)).is_success
            return len(connections(pair)) == 2

    await eventually(is_replaced, seconds=START_SECONDS)
    assert other in pair.pids
    lines = pair.log.read_text()
    assert f"worker ended pid={killed} code=-9\n" in lines
    assert f" worker={killed}\n" in lines
    assert await pair.total("turngate_workers") == 2
    assert await pair.total("turngate_worker_restarts_total") == 1
    assert await pair.total("turngate_turns_total") > before


async def test_a_worker_that_is_paused_is_left_alone(pair: Workers) -> None:
    """A process that a signal has stopped is replaced by nobody; the other one takes the calls, and the metrics have its counts."""
    total = await pair.total("turngate_turns_total")
    paused = psutil.Process(min(pair.pids))
    paused.suspend()
    try:
        async with AsyncExitStack() as stack:
            for client in [await stack.enter_async_context(pair.client()) for _ in range(4)]:
                assert (await client.post(PATH, json=BODY)).is_success
        assert await pair.total("turngate_turns_total") == total + 4
    finally:
        paused.resume()
    assert paused.pid in pair.pids


class Load:
    """Clients that call again and again over connections that stay open, without a retry; half of the calls are streamed."""

    def __init__(self, pair: Workers) -> None:
        self.num_calls = 0
        self._pair = pair
        self._is_over = asyncio.Event()

    async def run(self, clients: int) -> None:
        """Until `end`; raises what any call raises."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(self._call_on())

    def end(self) -> None:
        self._is_over.set()

    async def _call_on(self) -> None:
        async with self._pair.client() as client:
            while not self._is_over.is_set():
                is_streamed = self.num_calls % 2 == 0
                self.num_calls += 1
                answer = await client.post(PATH, json=BODY | {"stream": is_streamed})
                assert answer.is_success, answer.text
                assert not is_streamed or answer.text.endswith("data: [DONE]\n\n")
                await asyncio.sleep(PAUSE_SECONDS)


async def test_a_rolling_restart_breaks_no_call(
    pair: Workers, engine_of_pair: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """SIGHUP replaces all workers under load: every call is answered, a long stream to its end, and each turn is counted."""
    before, old = await pair.total("turngate_turns_total"), pair.pids
    wait = Wait(asyncio.Event())
    engine_of_pair.script(*spell(tokenizer, "long"), wait, end_of_turn(tokenizer))
    load = Load(pair)
    async with asyncio.TaskGroup() as tasks, pair.client() as client:
        long = tasks.create_task(client.post(PATH, json=BODY | {"stream": True}))
        await wait.reached.wait()
        tasks.create_task(load.run(clients=6))
        pair.process.send_signal(signal.SIGHUP)

        async def one_old_is_left() -> bool:
            return len(pair.pids - old) == 2 and len(pair.pids & old) == 1

        await eventually(one_old_is_left, seconds=START_SECONDS)
        wait.event.set()
        assert (await long).text.endswith("data: [DONE]\n\n")
        await eventually(lambda: pair.are_new(old), seconds=START_SECONDS)
        load.end()
    assert load.num_calls > 0
    assert await pair.total("turngate_turns_total") == before + load.num_calls + 1
