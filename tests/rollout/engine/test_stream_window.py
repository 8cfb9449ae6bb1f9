"""How an engine's stream is paced: chunks that hold what came within a window."""

import asyncio
import random
from contextlib import aclosing
from itertools import pairwise

import pytest

from rollout.engine.errors import EngineUnreachable
from rollout.engine.generation import Chunk, GenerateRequest, SamplingParameters
from tests.engines import connected
from tests.profiles import per_profile
from tests.scripted_engine import Die, ScriptedEngine, Step, Stop, Tokens, Wait, running_engine

REQUEST = GenerateRequest("r", [1, 2, 3], SamplingParameters(max_tokens=64))
LONG = 60.0  # seconds, in which a test would fail


async def streamed(engine: ScriptedEngine, *steps: Step, seconds: float) -> list[Chunk]:
    engine.script(*steps)
    async with (
        connected(engine.url, stream_window_seconds=seconds) as client,
        aclosing(client.stream(REQUEST)) as chunks,
        asyncio.timeout(5),
    ):
        return [chunk async for chunk in chunks]


async def test_the_first_tokens_and_the_end_wait_for_no_window() -> None:
    """The first chunk comes while the engine is silent, and the rest of a long window when the answer ends."""
    rest = asyncio.Event()
    async with (
        running_engine() as engine,
        connected(engine.url, stream_window_seconds=LONG) as client,
    ):
        engine.script(Tokens([11]), Wait(rest), Tokens([12]), Tokens([13, 14]), Stop(15))
        async with aclosing(client.stream(REQUEST)) as chunks, asyncio.timeout(5):
            first = await anext(chunks)
            rest.set()
            others = [chunk async for chunk in chunks]
    assert first.ids == [11]
    assert [chunk.ids for chunk in others] == [[12, 13, 14, 15]]
    assert [len(chunk.logprobs) for chunk in others] == [4]


async def test_a_window_ends_by_its_time() -> None:
    """Tokens are given after the window, also if the engine says nothing more."""
    rest, last = Wait(asyncio.Event()), Wait(asyncio.Event())
    async with (
        running_engine() as engine,
        connected(engine.url, stream_window_seconds=0.05) as client,
    ):
        engine.script(Tokens([11]), rest, Tokens([12]), Tokens([13]), last, Stop(14))
        async with aclosing(client.stream(REQUEST)) as chunks, asyncio.timeout(5):
            given = (await anext(chunks)).ids
            rest.event.set()
            while len(given) < 3:
                given += (await anext(chunks)).ids
            last.event.set()
            given += [id_ for chunk in [c async for c in chunks] for id_ in chunk.ids]
    assert given == [11, 12, 13, 14]


@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize("seconds", [0.0, 0.001, LONG])
async def test_no_window_loses_or_repeats_a_token(seconds: float, *, incremental: bool) -> None:
    """However an engine cuts its answer, and however long the window is, the chunks add up to the answer."""
    chance = random.Random(7)
    async with running_engine(incremental=incremental) as engine:
        for _ in range(per_profile(ci=5, nightly=50)):
            ids = [chance.randrange(300, 400) for _ in range(chance.randrange(1, 40))]
            cuts = sorted({0, len(ids), *(chance.randrange(len(ids)) for _ in range(8))})
            steps = [Tokens(ids[a:b]) for a, b in pairwise(cuts)]
            chunks = await streamed(engine, *steps, Stop(2), seconds=seconds)
            assert [id_ for chunk in chunks for id_ in chunk.ids] == [*ids, 2]
            logprobs = [logprob for chunk in chunks for logprob in chunk.logprobs]
            assert logprobs == [-0.5 - 0.001 * place for place in range(len(ids) + 1)]
            assert chunks[-1].finish is not None


async def test_a_connection_that_breaks_in_a_window_keeps_what_came() -> None:
    """The error has the tokens that were not given yet."""
    async with running_engine() as engine:
        with pytest.raises(EngineUnreachable) as failure:
            await streamed(engine, Tokens([11]), Tokens([12]), Tokens([13]), Die(), seconds=0.05)
    assert failure.value.partial is not None
    assert failure.value.partial.ids == [11, 12, 13]
