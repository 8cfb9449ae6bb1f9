"""What a microbatch must be, and how batches carry proximal logprobs."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainer.megatron.packing import batch, random_sequences
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.paths import paths
from trainer.megatron.layers.context_shards import share


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
    """[5 6 7 8] continues [1 2 3] after 2, and 4 after 1: tokens before them are on their paths, not in the pack."""
    tree = part.replace(parents=torch.tensor([-1, 0, 1]))
    assert tree.paths == [[(0, 3)], [(0, 1), (1, 1)], [(0, 2), (2, 4)]]
    assert tree.predecessors.tolist() == [-1, 0, 1, 0, 1, 4, 5, 6]
    assert TrainBatch((tree,)).num_row_tokens == 3 + 2 + 6


@given(st.integers(1, 20), st.integers(1, 9))
def test_ranks_share_a_batch_evenly(count: int, ranks: int) -> None:
    """All ranks have the same number of microbatches, each trains once, and the padding trains nothing."""
    packs = [random_sequences((2 + index,), vocabulary=9) for index in range(count)]
    whole = batch(*packs)
    shares = [whole.share(rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    trained = [part.num_tokens for share in shares for part in share if part.action_mask.any()]
    assert sorted(trained) == [part.num_tokens for part in whole.microbatches]
    blank = [part for share in shares for part in share if not part.action_mask.any()]
    assert len(blank) < ranks
    assert not any(part.weights.any() for part in blank)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 5), st.data())
def test_context_parallel_ranks_hold_every_token_once(
    lengths: list[int], ranks: int, data: st.DataObject
) -> None:
    """In trees too: each shard ends a path that holds what its tokens see, and no rank has many more than another."""
    bounds = [0, *itertools.accumulate(lengths)]
    parents = [data.draw(st.integers(-1, start - 1)) for start in bounds[:-1]]
    found = paths(bounds, parents)
    shares = [share(found, rank=rank, ranks=ranks) for rank in range(ranks)]
    held = [
        bounds[shard.path[-1][0]] + shard.path[-1][1] - 1 - back
        for shards in shares
        for shard in shards
        for back in range(shard.tokens)
    ]
    assert sorted(held) == list(range(bounds[-1]))
    assert all(
        shard.path[:-1] == found[shard.path[-1][0]][:-1] for shards in shares for shard in shards
    )
    sizes = [sum(shard.tokens for shard in shards) for shards in shares]
    assert max(sizes) - min(sizes) <= 2 * len(lengths)


def test_proximal_logprobs_go_to_their_microbatches() -> None:
    """They are filled in microbatch by microbatch, and their number must match."""
    whole = batch(random_sequences((3, 5), vocabulary=9), random_sequences((2, 2), vocabulary=9))
    logprobs = [torch.full((8,), -1.0), torch.full((4,), -2.0)]
    filled = whole.with_proximal_logprobs(logprobs)
    assert [m.proximal_logprobs[0].item() for m in filled.microbatches] == [-1.0, -2.0]
    assert filled.num_tokens == 12
    with pytest.raises(ValueError, match="zip"):
        whole.with_proximal_logprobs(logprobs[:1])
