"""A seed decides what the real SGLang samples, whatever else it samples at the same time."""

import asyncio
import secrets

import msgspec
import pytest

from rollout.engine.generation import Chunk, GenerateRequest, SamplingParameters
from rollout.tokenizer.tokenizer import Tokenizer
from tests.engines import connected

pytestmark = pytest.mark.engine

NARROWED = SamplingParameters(max_tokens=24, ignore_eos=True, top_p=0.9, top_k=50, min_p=0.001)
PLAIN = SamplingParameters(max_tokens=24, ignore_eos=True)


@pytest.mark.parametrize("sampling", [PLAIN, NARROWED])
async def test_the_same_seed_gives_the_same_tokens(
    engine: str, tokenizer: Tokenizer, sampling: SamplingParameters
) -> None:
    """Alone and among others, equal seeds give equal tokens, and other seeds or none give others."""
    prompt = tokenizer.encode("What does one melon cost?")
    async with connected(engine) as server:

        async def sampled(seed: int | None) -> Chunk:
            asked = msgspec.structs.replace(sampling, seed=seed)
            is_narrowed = sampling is NARROWED
            call = GenerateRequest(
                secrets.token_hex(8), prompt, asked, sampling_logprobs=is_narrowed
            )
            return await server.generate(call)

        alone = await sampled(7)
        seeds = (7, None, 8, 7, None, 2**63 - 1, -(2**63))
        among = await asyncio.gather(*map(sampled, seeds))
    ids = [chunk.ids for chunk in among]
    assert ids[0] == ids[3] == alone.ids
    assert len({tuple(each) for each in ids}) == len(seeds) - 1
    if sampling is NARROWED:
        for chunk in among:
            assert chunk.sampling_logprobs is not None
            pairs = zip(chunk.sampling_logprobs, chunk.logprobs, strict=True)
            assert all(narrow >= plain - 1e-4 for narrow, plain in pairs)
