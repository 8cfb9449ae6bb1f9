"""What a microbatch must be, and how batches carry proximal logprobs."""

import pytest
import torch
from torch import Tensor

from tests.trainer.megatron.packing import batch, random_sequences
from trainer.megatron.microbatch import Microbatch


@pytest.fixture
def part() -> Microbatch:
    return batch(random_sequences((3, 1, 4), vocabulary=9)).microbatches[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"cu_seqlens": torch.tensor([0, 3, 4], dtype=torch.int32)},
        {"cu_seqlens": torch.tensor([1, 4, 8], dtype=torch.int32)},
        {"weights": torch.ones(7)},
        {"action_mask": torch.ones(8, dtype=torch.bool)},
    ],
)
def test_a_microbatch_that_does_not_add_up_is_a_mistake(
    part: Microbatch, changes: dict[str, Tensor]
) -> None:
    """Sequences that do not cover the tokens, tensors of other lengths, and a first token that trains."""
    with pytest.raises(AssertionError):
        part.replace(**changes)


def test_proximal_logprobs_go_to_their_microbatches() -> None:
    """They are filled in microbatch by microbatch, and their number must match."""
    whole = batch(random_sequences((3, 5), vocabulary=9), random_sequences((2, 2), vocabulary=9))
    logprobs = [torch.full((8,), -1.0), torch.full((4,), -2.0)]
    filled = whole.with_proximal_logprobs(logprobs)
    assert [m.proximal_logprobs[0].item() for m in filled.microbatches] == [-1.0, -2.0]
    assert filled.num_tokens == 12
    with pytest.raises(ValueError, match="zip"):
        whole.with_proximal_logprobs(logprobs[:1])
