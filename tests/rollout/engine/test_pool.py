"""Which engine takes a call, and which gets none."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from rollout.engine.engine import Engine
from rollout.engine.errors import EngineUnreachable, NoEngine
from rollout.engine.pool import Pool
from rollout.engine.pool_member import OUTDATED_SECONDS
from rollout.errors import StoreUnavailable
from rollout.served_model import AskedModel, ServedModel
from tests.engines import connected, factory
from tests.scripted_engine import ScriptedEngine, running_engine

CURRENT = AskedModel("default")


class Recorded:
    """The recorded version, and a clock, both set by the test."""

    def __init__(self, version: int | None = None) -> None:
        self.version = version
        self.now = 0.0

    async def read(self) -> ServedModel | None:
        return None if self.version is None else ServedModel("default", self.version)

    def clock(self) -> float:
        return self.now


@pytest.fixture
async def scripted() -> AsyncIterator[list[ScriptedEngine]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_engine()) for _ in range(4)]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
async def pool(scripted: list[ScriptedEngine], recorded: Recorded) -> AsyncIterator[Pool]:
    urls = [engine.url for engine in scripted]
    async with Pool(urls, recorded=recorded.read, clock=recorded.clock) as pool:
        await pool.probe()
        yield pool


async def _choice(pool: Pool, key: str, prompt_length: int = 0) -> str:
    with pool.lease(CURRENT, key, prompt_length) as engine:
        return engine.url


def _up(pool: Pool) -> set[str]:
    return {state.url for state in pool.snapshot() if state.is_up}


async def _eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def _monitored(pool: Pool) -> AsyncIterator[None]:
    monitor = asyncio.create_task(pool.monitor())
    try:
        yield
    finally:
        monitor.cancel()
        await asyncio.wait([monitor])


async def test_an_idle_pool_always_sends_a_key_to_the_same_engine(
    scripted: list[ScriptedEngine], pool: Pool, recorded: Recorded
) -> None:
    """So does another gateway's pool, whatever order it lists the engines in."""
    urls = [engine.url for engine in reversed(scripted)]
    async with Pool(urls, recorded=recorded.read) as other:
        await other.probe()
        for key in map(str, range(50)):
            assert await _choice(pool, key) == await _choice(pool, key) == await _choice(other, key)


async def test_keys_spread_evenly(pool: Pool) -> None:
    """No engine gets more than half again its share of 2000 keys."""
    choices = Counter([await _choice(pool, f"ep_{number}") for number in range(2000)])

    assert len(choices) == 4
    assert max(choices.values()) < 750


async def test_losing_an_engine_moves_only_its_keys(
    scripted: list[ScriptedEngine], pool: Pool
) -> None:
    """The others keep the prefixes they hold."""
    before = {key: await _choice(pool, key) for key in map(str, range(100))}
    scripted[0].is_healthy = False
    await pool.probe()

    for key, url in before.items():
        after = await _choice(pool, key)
        assert after != scripted[0].url
        assert url in (after, scripted[0].url)


async def test_a_much_busier_engine_loses_its_affinity(pool: Pool) -> None:
    """A few calls more are worth the prefix, more are not; a long prefix is worth more."""
    async with AsyncExitStack() as stack:
        first = stack.enter_context(pool.lease(CURRENT, "key", 0))
        for _ in range(4):
            assert stack.enter_context(pool.lease(CURRENT, "key", 0)) is first

        assert await _choice(pool, "key") != first.url
        assert await _choice(pool, "key", prompt_length=5000) == first.url
    assert await _choice(pool, "key") == first.url


async def test_a_pinned_call_goes_to_an_engine_that_serves_its_version(
    scripted: list[ScriptedEngine], pool: Pool
) -> None:
    """While engines differ, its version decides before its prefix; if none serves it, any engine answers."""
    scripted[0].version = 5
    await pool.probe()
    for key in map(str, range(20)):
        with pool.lease(AskedModel("default", 5), key, 0) as engine:
            assert engine.url == scripted[0].url
    with pool.lease(AskedModel("default", 4), "key", 0) as engine:
        assert engine.url in _up(pool)


async def test_an_engine_to_avoid_is_taken_only_if_there_is_no_other(
    scripted: list[ScriptedEngine], pool: Pool
) -> None:
    """A call that one engine failed goes to another, although the engine is up."""
    urls = [engine.url for engine in scripted]
    failed: list[str] = []
    for _ in urls:
        with pool.lease(CURRENT, "key", 0, avoid=failed) as engine:
            failed.append(engine.url)
    assert sorted(failed) == sorted(urls)
    with pool.lease(CURRENT, "key", 0, avoid=failed) as engine:
        assert engine.url == failed[0]


async def test_a_lost_engine_gets_no_more_calls(scripted: list[ScriptedEngine], pool: Pool) -> None:
    """The call that lost it takes it out at once; a probe that finds it well brings it back."""
    lost = await _choice(pool, "key")
    with pytest.raises(EngineUnreachable), pool.lease(CURRENT, "key", 0) as engine:
        raise EngineUnreachable(engine.url, "connection reset")

    assert await _choice(pool, "key") != lost
    assert lost not in _up(pool)
    await pool.probe()
    assert await _choice(pool, "key") == lost


async def test_an_engine_that_died_comes_back_only_with_the_recorded_policy(
    scripted: list[ScriptedEngine], pool: Pool, recorded: Recorded
) -> None:
    """Answering is not enough."""
    recorded.version = 5
    for engine in scripted:
        engine.version = 5
    scripted[0].is_healthy = False
    await pool.probe()
    scripted[0].is_healthy, scripted[0].version = True, 0
    await pool.probe()
    assert _up(pool) == {engine.url for engine in scripted[1:]}

    scripted[0].version = 5
    await pool.probe()
    assert scripted[0].url in _up(pool)


async def test_engines_behind_a_new_policy_serve_on(pool: Pool, recorded: Recorded) -> None:
    """Between recording a policy and swapping, every engine is behind and none may be dropped."""
    recorded.version = 1
    await pool.probe()

    assert len(_up(pool)) == 4


async def test_an_engine_that_stays_behind_is_used_last(
    scripted: list[ScriptedEngine], pool: Pool, recorded: Recorded
) -> None:
    """Its swap failed: it gets calls only if no engine is current."""
    recorded.version = 1
    for engine in scripted[1:]:
        engine.version = 1
    await pool.probe()
    recorded.now = OUTDATED_SECONDS + 1

    choices = {await _choice(pool, str(number)) for number in range(200)}
    assert choices == {engine.url for engine in scripted[1:]}

    for engine in scripted[1:]:
        engine.is_healthy = False
    await pool.probe()
    assert await _choice(pool, "key") == scripted[0].url


async def test_a_pool_without_engines_says_why(scripted: list[ScriptedEngine], pool: Pool) -> None:
    """Each engine is named with its reason."""
    for engine in scripted:
        engine.is_healthy = False
    await pool.probe()

    with pytest.raises(NoEngine, match=r"127\.0\.0\.1.*503"):
        await _choice(pool, "key")
    async with Pool([], recorded=Recorded().read) as empty:
        with pytest.raises(NoEngine, match="empty"):
            await _choice(empty, "key")


async def test_a_store_that_is_down_does_not_stop_serving(scripted: list[ScriptedEngine]) -> None:
    """What was recorded last holds."""

    async def unavailable() -> ServedModel | None:
        raise StoreUnavailable("connection refused")

    async with Pool([scripted[0].url], recorded=unavailable) as pool:
        await pool.probe()
        assert await _choice(pool, "key") == scripted[0].url


async def test_the_monitor_has_a_restarted_engine_swapped(scripted: list[ScriptedEngine]) -> None:
    """It comes back with other weights, is reconciled, and then serves."""
    asked: list[str] = []

    async def reconcile(engines: list[Engine]) -> None:
        for engine in engines:
            asked.append(engine.url)
            await engine.load("anywhere", ServedModel("default", 5), timeout=5)

    recorded = Recorded(5)
    async with (
        Pool(
            [scripted[0].url],
            recorded=recorded.read,
            reconcile=reconcile,
            probe_seconds=0.02,
        ) as pool,
        _monitored(pool),
    ):
        await _eventually(lambda: bool(_up(pool)))

    assert asked == [scripted[0].url]
    assert scripted[0].version == 5


async def test_the_monitor_outlives_an_engine(recorded: Recorded) -> None:
    """It notices the end and the return of an engine on the same port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with (
        Pool([url], recorded=recorded.read, probe_seconds=0.02) as pool,
        _monitored(pool),
    ):
        async with running_engine(port=port):
            await _eventually(lambda: _up(pool) == {url})
        await _eventually(lambda: not _up(pool))
        async with running_engine(port=port):
            await _eventually(lambda: _up(pool) == {url})


@pytest.mark.engine
async def test_a_paused_engine_stays_in_the_pool(engine: str, recorded: Recorded) -> None:
    """Its calls wait, which no client notices; dropping it would lose the prefix and the call."""
    async with (
        Pool([engine], recorded=recorded.read, factory=factory()) as pool,
        connected(engine) as control,
    ):
        await control.pause()
        try:
            for _ in range(4):
                await pool.probe()
            assert _up(pool) == {engine}
        finally:
            await control.resume()
