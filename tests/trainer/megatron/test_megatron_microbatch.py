"""What a microbatch must be, and how batches carry proximal logprobs."""

import pytest
import torch
from torch import Tensor

from tests.trainer.megatron.packing import batch, random_sequences
from trainer.megatron.microbatch import Microbatch, TrainBatch


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
        {"parents": torch.tensor([-1, 3, -1])},
    ],
)
def test_a_microbatch_that_does_not_add_up_is_a_mistake(
    part: Microbatch, changes: dict[str, Tensor]
) -> None:
    """Sequences that do not cover the tokens, tensors of other lengths, a first token that trains, a sequence that continues itself."""
    with pytest.raises(AssertionError):
        part.replace(**changes)


def test_a_branch_stands_where_its_path_has_led(part: Microbatch) -> None:
    """[5 6 7 8] continues [1 2 3] behind 2, and 4 behind 1: tokens before them are on their paths, not in the pack."""
    tree = part.replace(parents=torch.tensor([-1, 0, 1]))
    assert tree.paths == [[(0, 3)], [(0, 1), (1, 1)], [(0, 2), (2, 4)]]
    assert tree.predecessors.tolist() == [-1, 0, 1, 0, 1, 4, 5, 6]
    assert TrainBatch((tree,)).num_row_tokens == 3 + 2 + 6


def test_proximal_logprobs_go_to_their_microbatches() -> None:
    """They are filled in microbatch by microbatch, and their number must match."""
    whole = batch(random_sequences((3, 5), vocabulary=9), random_sequences((2, 2), vocabulary=9))
    logprobs = [torch.full((8,), -1.0), torch.full((4,), -2.0)]
    filled = whole.with_proximal_logprobs(logprobs)
    assert [m.proximal_logprobs[0].item() for m in filled.microbatches] == [-1.0, -2.0]
    assert filled.num_tokens == 12
    with pytest.raises(ValueError, match="zip"):
        whole.with_proximal_logprobs(logprobs[:1])
