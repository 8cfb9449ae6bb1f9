"""The data path against the real SGLang."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import pytest

from rollout.engine.engine import Engine
from rollout.engine.errors import EngineAborted, EngineRejected
from rollout.engine.generation import Chunk, GenerateRequest, SamplingParameters
from tests.engines import connected, num_calls

pytestmark = pytest.mark.engine

PROMPT = [10, 20, 30, 40, 50]
GREEDY = SamplingParameters(max_tokens=24, temperature=0, ignore_eos=True)
LONG = SamplingParameters(max_tokens=1000, ignore_eos=True)


@pytest.fixture
async def client(engine: str) -> AsyncIterator[Engine]:
    async with connected(engine, vocab_size=512) as client:
        yield client


async def _streamed(client: Engine, request: GenerateRequest) -> list[Chunk]:
    async with aclosing(client.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


async def _wait_until_idle(engine: str) -> None:
    async with asyncio.timeout(5):
        while await num_calls(engine):
            await asyncio.sleep(0.05)


async def test_a_call_returns_each_token_with_its_logprob_and_version(client: Engine) -> None:
    """Every sampled token has one logprob and one version, and the count is what was asked for."""
    chunk = await client.generate(GenerateRequest("whole", PROMPT, GREEDY))

    assert len(chunk.ids) == len(chunk.logprobs) == 24
    assert max(chunk.logprobs) < 0
    assert [(v.start, v.end) for v in chunk.versions] == [(0, 24)]
    assert chunk.finish is not None
    assert (chunk.finish.type, chunk.prompt_tokens) == ("length", len(PROMPT))


async def test_streaming_gives_what_one_answer_gives(client: Engine) -> None:
    """At temperature 0 the chunks of a stream add up to the unstreamed answer."""
    whole = await client.generate(GenerateRequest("unstreamed", PROMPT, GREEDY))
    chunks = await _streamed(client, GenerateRequest("streamed", PROMPT, GREEDY))

    assert [token for chunk in chunks for token in chunk.ids] == whole.ids
    logprobs = [logprob for chunk in chunks for logprob in chunk.logprobs]
    np.testing.assert_allclose(logprobs, whole.logprobs, atol=1e-5)
    assert chunks[-1].finish == whole.finish
    assert chunks[-1].versions == whole.versions


async def test_a_chunk_arrives_before_the_last_token_is_sampled(client: Engine) -> None:
    """A machine that is busy elsewhere joins some chunks, not those of a thousand tokens."""
    chunks = await _streamed(client, GenerateRequest("early", PROMPT, LONG))

    assert len(chunks) > 1
    assert sum(len(chunk.ids) for chunk in chunks) == 1000


async def test_encoded_ids_are_sent_as_they_are(client: Engine) -> None:
    """A prompt given as JSON samples what the same prompt given as a list samples."""
    listed = await client.generate(GenerateRequest("listed", PROMPT, GREEDY))
    encoded = await client.generate(GenerateRequest("encoded", b"[10,20,30,40,50]", GREEDY))

    assert encoded.ids == listed.ids


async def test_top_logprobs_come_best_first(client: Engine) -> None:
    """Under greedy sampling the best of the top logprobs is the sampled token, streamed too."""
    chunks = await _streamed(client, GenerateRequest("top", PROMPT, GREEDY, top_logprobs=3))

    for chunk in chunks:
        assert chunk.top_logprobs is not None
        for token, candidates in zip(chunk.ids, chunk.top_logprobs, strict=True):
            assert len(candidates) == 3
            assert candidates[0][1] == token


async def test_sampling_logprobs_know_about_truncation(client: Engine) -> None:
    """With top-k the sampling logprob is that of the renormalized distribution, so it is the larger one."""
    sampling = SamplingParameters(max_tokens=16, ignore_eos=True, top_k=2)
    request = GenerateRequest("truncated", PROMPT, sampling, sampling_logprobs=True)

    chunks = await _streamed(client, request)

    pairs = [
        pair
        for chunk in chunks
        for pair in zip(chunk.sampling_logprobs or [], chunk.logprobs, strict=True)
    ]
    assert len(pairs) == 16
    assert all(sampling > logprob for sampling, logprob in pairs)
    assert all(sampling > -10 for sampling, _ in pairs)


async def test_a_repeated_prompt_is_read_from_the_cache(client: Engine) -> None:
    """The engine reports how much of the prompt it had."""
    prompt = list(range(100, 164))
    await client.generate(GenerateRequest("first", prompt, GREEDY))
    again = await client.generate(GenerateRequest("second", prompt, GREEDY))

    assert again.cached_tokens >= len(prompt) - 1


async def test_prompts_with_different_salts_share_no_cache(client: Engine) -> None:
    """A project that wants it does not learn from the engine what another one has asked."""
    prompt = list(range(200, 264))
    for name, salt in (("theirs", "one"), ("salted", "two"), ("unsalted", "")):
        found = await client.generate(GenerateRequest(name, prompt, GREEDY, cache_salt=salt))
        assert found.cached_tokens == 0
    again = await client.generate(GenerateRequest("again", prompt, GREEDY, cache_salt="one"))

    assert again.cached_tokens >= len(prompt) - 1


async def test_an_aborted_call_keeps_what_it_sampled(client: Engine) -> None:
    """Whoever reads an aborted call gets EngineAborted with the tokens, logprobs and versions so far."""
    received: list[int] = []

    async def read_and_abort() -> None:
        async with aclosing(client.stream(GenerateRequest("aborted", PROMPT, LONG))) as chunks:
            async for chunk in chunks:
                if not received:
                    await client.abort("aborted")
                received.extend(chunk.ids)

    with pytest.raises(EngineAborted) as raised:
        await read_and_abort()

    partial = raised.value.partial
    assert partial is not None
    assert partial.ids[: len(received)] == received
    assert 0 < len(partial.ids) < 1000
    assert len(partial.logprobs) == partial.versions[-1].end == len(partial.ids)


async def test_leaving_a_stream_stops_the_engine(engine: str, client: Engine) -> None:
    """A closed stream leaves no request behind."""
    async with aclosing(client.stream(GenerateRequest("left", PROMPT, LONG))) as chunks:
        await anext(chunks)

    await _wait_until_idle(engine)
    assert await client.generate(GenerateRequest("after", PROMPT, GREEDY))


async def test_cancelling_an_unstreamed_call_stops_the_engine(engine: str, client: Engine) -> None:
    """SGLang would notice a lost unstreamed caller only seconds later."""
    call = asyncio.create_task(client.generate(GenerateRequest("cancelled", PROMPT, LONG)))
    async with asyncio.timeout(5):
        while not await num_calls(engine):
            await asyncio.sleep(0.01)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await _wait_until_idle(engine)


@pytest.mark.parametrize("ids", [[1, 512], [-1], []])
async def test_ids_outside_the_vocabulary_never_reach_the_engine(
    client: Engine, ids: list[int]
) -> None:
    """One of them would end the whole server; it still answers."""
    with pytest.raises(EngineRejected):
        await client.generate(GenerateRequest("outside", ids, GREEDY))

    assert (await client.generate(GenerateRequest("inside", PROMPT, GREEDY))).ids


@pytest.mark.parametrize(
    ("sampling", "complaint"),
    [
        (SamplingParameters(max_tokens=1, min_p=7), "min_p"),
        (SamplingParameters(max_tokens=10_000_000), "context length"),
    ],
)
async def test_a_refused_request_says_why(
    client: Engine, sampling: SamplingParameters, complaint: str
) -> None:
    """SGLang refuses by status unstreamed and by an event in a stream; both are EngineRejected."""
    with pytest.raises(EngineRejected, match=complaint):
        await client.generate(GenerateRequest("refused", PROMPT, sampling))
    with pytest.raises(EngineRejected, match=complaint):
        await _streamed(client, GenerateRequest("refused", PROMPT, sampling))
