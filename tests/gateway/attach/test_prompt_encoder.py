"""What the cache of encoded prompts counts."""

from sys import getsizeof

import pytest

from gateway.attach.prompt_encoder import PromptEncoder
from rollout.tokenizer.tokenizer import Tokenizer


@pytest.mark.parametrize("character", ["a", "漢", "🙂"])
async def test_a_cached_text_counts_its_bytes(tokenizer: Tokenizer, character: str) -> None:
    """A character takes one to four of them."""
    encoder = PromptEncoder(tokenizer, "<|im_end|>")
    text = 10_000 * character

    ids = await encoder.encode(text)

    assert encoder.num_bytes >= getsizeof(text) + ids.nbytes
