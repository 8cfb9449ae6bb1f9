"""A project's own part of the real SGLang's prefix cache."""

import pytest

from rollout.engine.generation import GenerateRequest, SamplingParameters
from tests.engines import connected

pytestmark = pytest.mark.engine

GREEDY = SamplingParameters(max_tokens=4, temperature=0, ignore_eos=True)
PROMPT = [(7 * place) % 500 + 5 for place in range(64)]


async def test_only_calls_with_the_same_salt_share_a_prefix(engine: str) -> None:
    """A prompt that is cached for one salt is cached for no other and for none without, and samples the same."""
    async with connected(engine, vocab_size=512) as client:

        async def cached(call_id: str, salt: str) -> int:
            request = GenerateRequest(call_id, PROMPT, GREEDY, cache_salt=salt)
            chunk = await client.generate(request)
            ids.append(chunk.ids)
            return chunk.cached_tokens

        ids: list[list[int]] = []
        found = [
            await cached(f"salt-{number}", salt)
            for number, salt in enumerate(("one", "one", "two", "", "", "one"))
        ]

    first, again, other, without, without_again, still = found
    assert (first, other, without) == (0, 0, 0)
    assert min(again, without_again, still) >= len(PROMPT) - 1
    assert len(set(map(tuple, ids))) == 1
