"""Swaps under the real SGLang while it streams, and what happens to engines that fail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from rollout.engine.engine import Engine
from rollout.engine.generation import Chunk, GenerateRequest, SamplingParameters
from rollout.engine.swap import reconcile, swap
from rollout.errors import PolicyDamaged
from rollout.policies import Policy, PolicyStore
from tests.engines import borrowed, checksums, connected, factory
from tests.scripted_engine import ScriptedEngine, running_engine

LONG = SamplingParameters(max_tokens=400, ignore_eos=True)


@pytest.fixture
def store(model_dir: Path, tmp_path: Path) -> PolicyStore:
    """The starter as version 0 and other weights as version 7."""
    store = PolicyStore(tmp_path / "weights")
    store.adopt(model_dir, created=0)

    def write_weights(directory: Path) -> None:
        for file in model_dir.glob("*.safetensors"):
            tensors = {n: (t * 1.25).astype(t.dtype) for n, t in load_file(file).items()}
            save_file(tensors, directory / file.name)

    store.write(7, parent=0, base_dir=model_dir, write_weights=write_weights, created=1)
    return store


@pytest.fixture
async def control(engine: str, store: PolicyStore) -> AsyncIterator[Engine]:
    """The shared engine, given back as it was."""
    async with borrowed(engine, store.policy(0)) as control:
        yield control


class Source:
    """A store that records one policy, and a lock that this process may hold once."""

    project = "default"

    def __init__(self, recorded: Policy | None) -> None:
        self.recorded = recorded
        self.is_locked = False

    async def policy(self) -> Policy | None:
        return self.recorded

    @asynccontextmanager
    async def lock(self, name: str, *, lease_seconds: float) -> AsyncIterator[bool]:
        is_held, self.is_locked = not self.is_locked, True
        try:
            yield is_held
        finally:
            self.is_locked = self.is_locked and not is_held


@pytest.mark.engine
async def test_a_running_stream_survives_a_swap(
    engine: str, control: Engine, store: PolicyStore
) -> None:
    """Its tokens before the swap are the old version's, those after it the new one's, and none is missing."""
    client, chunks = factory().open(engine), list[Chunk]()
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        stack.push_async_callback(client.close)
        stream = client.stream(GenerateRequest("survivor", [10, 20, 30], LONG))
        swapping = None
        async for chunk in await stack.enter_async_context(aclosing(stream)):
            chunks.append(chunk)
            if swapping is None:
                swapping = tasks.create_task(swap([control], store.policy(7)))

    assert swapping is not None
    (result,) = swapping.result()
    assert result.ok
    assert 0 < result.gap_seconds < 30
    versions = chunks[-1].versions
    assert [interval.version for interval in versions] == [0, 7]
    assert versions[0].start == 0 < versions[0].end == versions[1].start < versions[1].end == 400
    assert sum(len(chunk.ids) for chunk in chunks) == 400


@pytest.mark.engine
async def test_a_call_during_the_pause_waits(engine: str, control: Engine) -> None:
    """It is answered after the pause; the engine is neither down nor unreachable."""
    client = factory().open(engine)
    await control.pause()
    call = asyncio.create_task(
        client.generate(GenerateRequest("late", [10, 20], SamplingParameters(max_tokens=3)))
    )
    done, _ = await asyncio.wait([call], timeout=0.3)
    await control.resume()

    assert not done
    assert len((await call).ids) == 3
    await client.close()


@pytest.mark.engine
async def test_the_engine_serves_exactly_the_weights_that_were_published(
    engine: str, control: Engine, store: PolicyStore
) -> None:
    """Going to another policy and back gives other checksums and the first ones again."""
    starter = await checksums(engine)
    await swap([control], store.policy(7))
    scaled = await checksums(engine)
    await swap([control], store.policy(0))

    assert starter.keys() == scaled.keys()
    assert all(starter[name] != scaled[name] for name in starter)
    assert await checksums(engine) == starter


@pytest.mark.engine
async def test_a_damaged_policy_stops_the_swap_before_the_pause(
    control: Engine, store: PolicyStore
) -> None:
    """The engine serves what it served."""
    weights = next(Path(store.policy(7).path).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(PolicyDamaged):
        await swap([control], store.policy(7))
    assert (await control.served_model()).version == 0


@pytest.fixture
async def scripted() -> AsyncIterator[list[ScriptedEngine]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_engine()) for _ in range(3)]


@pytest.fixture
async def controls(scripted: list[ScriptedEngine]) -> AsyncIterator[list[Engine]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(engine.url)) for engine in scripted]


async def test_an_engine_that_fails_does_not_fail_the_others(
    scripted: list[ScriptedEngine], controls: list[Engine], store: PolicyStore
) -> None:
    """It is reported with the reason, and goes on with its old weights."""
    scripted[1].fails_to_load = True
    gone = factory().open("http://127.0.0.1:1")

    results = await swap([*controls, gone], store.policy(7))
    await gone.close()

    assert [result.ok for result in results] == [True, False, True, False]
    assert "no such file" in (results[1].error or "")
    assert scripted[1].calls[-1] == "continue"
    assert [engine.version for engine in scripted] == [7, 0, 7]


async def test_reconciling_swaps_only_who_is_behind(
    scripted: list[ScriptedEngine], controls: list[Engine], store: PolicyStore
) -> None:
    """Engines that serve the recorded policy are not paused; one that is down is left alone."""
    scripted[0].version, scripted[2].is_healthy = 7, False

    results = await reconcile(controls, Source(store.policy(7)))

    assert results is not None
    assert [result.engine for result in results] == [controls[1].url]
    assert [engine.calls for engine in (scripted[0], scripted[2])] == [[], []]
    assert scripted[1].version == 7


async def test_many_may_reconcile_at_once(
    scripted: list[ScriptedEngine], controls: list[Engine], store: PolicyStore
) -> None:
    """The first swaps the engines, the others find the lock held, and a later one finds nothing left to do."""
    source = Source(store.policy(7))

    results = await asyncio.gather(*[reconcile(controls, source) for _ in range(4)])

    assert [result and len(result) for result in results] == [3, None, None, None]
    assert await reconcile(controls, source) == []
    assert all(engine.calls.count("pause") == 1 for engine in scripted)


async def test_without_a_recorded_policy_there_is_nothing_to_reconcile(
    scripted: list[ScriptedEngine], controls: list[Engine]
) -> None:
    """A gateway may run before anything was published."""
    assert await reconcile(controls, Source(None)) == []
    assert scripted[0].calls == []
