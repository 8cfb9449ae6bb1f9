"""What the layers of the model must know about a packed microbatch beside its hidden states."""

from dataclasses import dataclass
from typing import Self

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from trainer.megatron.microbatch import Microbatch
from trainer.megatron.paths import Path, length

# Rows of attention scores computed at once for a branch. On CPU 128 to 1024 differ by less than the noise;
# the mask is this many rows of the longest path.
BRANCH_ROWS = 512


@dataclass(kw_only=True)
class Packing(PackedSeqParams):  # type: ignore[misc]
    """Megatron's record of where sequences begin, and the trees they form, for which it has no field."""

    paths: list[Path]
    positions: Tensor  # int64 [T], how many tokens come before each on its path
    horizon: Tensor | None  # [BRANCH_ROWS, longest path], None if nothing branches

    @classmethod
    def of(
        cls, microbatch: Microbatch, *, multiple: int, queries_per_key: int, dtype: torch.dtype
    ) -> Self:
        """`multiple` pads the tokens; the padding is a sequence of its own."""
        bounds, paths = microbatch.cu_seqlens, microbatch.paths
        if padding := -microbatch.num_tokens % multiple:
            bounds = torch.cat((bounds, bounds[-1:] + padding))
            paths.append([(len(paths), padding)])
        longest = max(map(length, paths))
        return cls(
            qkv_format="thd",
            cu_seqlens_q=bounds,
            cu_seqlens_kv=bounds,
            max_seqlen_q=longest,
            max_seqlen_kv=longest,
            paths=paths,
            positions=_positions(bounds, paths),
            horizon=_horizon(
                paths, queries_per_key=queries_per_key, dtype=dtype, device=bounds.device
            ),
        )


def _positions(bounds: Tensor, paths: list[Path]) -> Tensor:
    depths = torch.tensor([length(path[:-1]) for path in paths], device=bounds.device)
    tokens = torch.arange(int(bounds[-1]), device=bounds.device)
    return tokens + (depths - bounds[:-1]).repeat_interleave(bounds.diff(), output_size=len(tokens))


def _horizon(
    paths: list[Path], *, queries_per_key: int, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """What may be added to the scores of the last queries of any path, for all branches, chunks and layers alike.

    Its last n rows and m columns are for n queries that are the last of m keys: each sees what comes before it. Queries of
    heads that share a key lie together, so 3 queries of 2 heads each over 4 keys (0 is seen, - not):

        0 0 - -
        0 0 - -
        0 0 0 -
        0 0 0 -
        0 0 0 0
        0 0 0 0
    """
    branches = [path for path in paths if len(path) > 1]
    if not branches:
        return None
    queries = min(max(1, BRANCH_ROWS // queries_per_key), max(path[-1][1] for path in branches))
    # CUDA's kernel reads a view of the mask in place if it starts at a multiple of 16, and copies it otherwise.
    keys = -(-max(map(length, branches)) // 16) * 16
    unseen = torch.full((queries, keys), -torch.inf, dtype=dtype, device=device)
    return unseen.triu(keys - queries + 1).repeat_interleave(queries_per_key, dim=0)
