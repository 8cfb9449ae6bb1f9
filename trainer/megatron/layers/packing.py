"""What the layers of the model need about a packed microbatch beside its hidden states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from trainer.learner.microbatch import Microbatch
from trainer.learner.paths import Path, length
from trainer.megatron.layers.context_shards import ContextShard, share

# Rows of attention scores computed at once for a branch. On CPU 128 to 1024 differ by less than the noise;
# the mask has this many rows, as long as the longest path.
BRANCH_ROWS = 512


@dataclass(kw_only=True)
class Packing(PackedSeqParams):  # type: ignore[misc]
    """Megatron's record of where sequences begin, with the trees they form and this rank's tokens.

    Each of R context-parallel ranks has N tokens, padding included; together they have all T tokens and some padding.
    """

    rank: int
    lengths: list[int]  # of the sequences, whole
    shards: list[ContextShard]  # this rank's
    tokens: Tensor  # int64 [N], which of the microbatch's tokens are on this rank; padding repeats the first
    positions: Tensor  # int64 [N], how many tokens come before each on its path
    order: Tensor  # int64 [T], where each token is among the R x N of all ranks
    branch_mask: Tensor | None  # [BRANCH_ROWS, longest path], None if every shard is whole

    @classmethod
    def of(
        cls,
        microbatch: Microbatch,
        *,
        multiple: int,
        queries_per_key: int,
        dtype: torch.dtype,
        rank: int = 0,
        ranks: int = 1,
    ) -> Self:
        """Each rank's tokens are padded to a multiple of `multiple`."""
        paths, device = microbatch.paths, microbatch.tokens.device
        shares = [share(paths, rank=r, ranks=ranks) for r in range(ranks)]
        held = [_tokens(shards, microbatch.cu_seqlens) for shards in shares]
        size = -(-max(map(len, held)) // multiple) * multiple
        tokens = torch.nn.functional.pad(held[rank], (0, size - len(held[rank])))
        bounds, longest = _with_padding(microbatch, size), max(map(length, paths))
        return cls(
            qkv_format="thd",
            cu_seqlens_q=bounds,
            cu_seqlens_kv=bounds,
            max_seqlen_q=max(longest, size - microbatch.num_tokens),
            max_seqlen_kv=max(longest, size - microbatch.num_tokens),
            rank=rank,
            lengths=[path[-1][1] for path in paths],
            shards=shares[rank],
            tokens=tokens,
            positions=_positions(microbatch.cu_seqlens, paths).index_select(0, tokens),
            order=_order(held, size),
            branch_mask=_branch_mask(
                [shard for shards in shares for shard in shards],
                queries_per_key=queries_per_key,
                dtype=dtype,
                device=device,
            ),
        )

    def here(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(which of these tokens of the microbatch are on this rank, where those are among its N)."""
        places = self.order.index_select(0, tokens) - self.rank * len(self.tokens)
        found = ((places >= 0) & (places < len(self.tokens))).nonzero().squeeze(1)
        return found, places.index_select(0, found)


def _tokens(shards: Sequence[ContextShard], bounds: Tensor) -> Tensor:
    """int64 [tokens of the shards], in the microbatch."""
    lengths = torch.tensor([shard.tokens for shard in shards], dtype=torch.int64)
    ends = torch.tensor([shard.path[-1] for shard in shards], dtype=torch.int64).view(-1, 2)
    lengths, ends = lengths.to(bounds.device), ends.to(bounds.device)
    starts = bounds.long().index_select(0, ends[:, 0]) + ends[:, 1] - lengths
    shifts = (starts - lengths.cumsum(0) + lengths).repeat_interleave(lengths)
    return torch.arange(len(shifts), device=bounds.device) + shifts


def _order(held: Sequence[Tensor], size: int) -> Tensor:
    places = [
        rank * size + torch.arange(len(tokens), device=tokens.device)
        for rank, tokens in enumerate(held)
    ]
    tokens = torch.cat(list(held))
    return torch.empty_like(tokens).index_copy_(0, tokens, torch.cat(places))


def _with_padding(microbatch: Microbatch, size: int) -> Tensor:
    """Where sequences begin, with the padding as one more sequence; for TransformerEngine, where one rank has all tokens."""
    bounds = microbatch.cu_seqlens
    padding = size - microbatch.num_tokens
    return torch.cat((bounds, bounds[-1:] + padding)) if padding > 0 else bounds


def _positions(bounds: Tensor, paths: list[Path]) -> Tensor:
    depths = torch.tensor([length(path[:-1]) for path in paths], device=bounds.device)
    tokens = torch.arange(int(bounds[-1]), device=bounds.device)
    return tokens + (depths - bounds[:-1]).repeat_interleave(bounds.diff(), output_size=len(tokens))


def _branch_mask(
    shards: Sequence[ContextShard],
    *,
    queries_per_key: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor | None:
    """The mask to add to the scores of the last queries of a path; one mask serves all shards, chunks and layers.

    Its last n rows and m columns are for the last n queries of a path of m keys: each attends to itself and the keys before. Queries of
    heads that share a key are adjacent; so for 3 queries of 2 heads each over 4 keys (0 is visible, - is not):

        0 0 - -
        0 0 - -
        0 0 0 -
        0 0 0 -
        0 0 0 0
        0 0 0 0
    """
    partial = [shard for shard in shards if not shard.is_whole]
    if not partial:
        return None
    queries = min(max(1, BRANCH_ROWS // queries_per_key), max(shard.tokens for shard in partial))
    # CUDA's kernel reads a view of the mask in place if it starts at a multiple of 16; otherwise it copies the mask.
    keys = -(-max(length(shard.path) for shard in partial) // 16) * 16
    unseen = torch.full((queries, keys), -torch.inf, dtype=dtype, device=device)
    return unseen.triu(keys - queries + 1).repeat_interleave(queries_per_key, dim=0)
