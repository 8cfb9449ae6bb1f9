"""Text is a lossy view of what was sampled: the next turn goes on with the ids, whatever the text would encode to."""

import pytest

from rollout.tokenizer import Tokenizer
from tests.fidelity.agent import NEXT, USER, ask, saying
from tests.fidelity.received import assert_exact
from tests.fidelity.recorder import Recorder
from tests.gateways import Gateway

pytestmark = pytest.mark.engine


async def test_ids_that_are_not_the_encoding_of_their_text_are_kept(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 1: an output in other pieces than the tokenizer's own goes on, and trains, as it was sampled."""
    text = "the price of the melon"
    answer = await ask(served, [USER], **saying(text))
    assert answer["message"]["content"] == text
    await ask(served, [USER, answer["message"], NEXT])
    first, second = recorder.calls
    assert first.ids[:-1] != tokenizer.encode(text)
    assert second.prompt[: len(first.prompt + first.ids)] == first.prompt + first.ids
    (row,) = await assert_exact(served, recorder.calls)
    assert row.tokens[: len(first.prompt + first.ids)].tolist() == first.prompt + first.ids
