"""Rows: which tokens belong together.

Token tensors come as `[B, T]` rows or packed `[T]` with `cu_seqlens`; both become one flat tensor and a row number per token,
so that every function below is written once and gives the same result for both.
"""

import torch
from torch import Tensor

from trainer.algorithms.precision import widened


def row_ids(like: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
    """The row of every token, shaped like `like`.

    [B, T] -> 0 for the first row, 1 for the second ...; packed [5] with cu_seqlens [0, 2, 5] -> [0, 0, 1, 1, 1]
    """
    if cu_seqlens is not None:
        bounds = cu_seqlens.to(torch.int64)
        lengths = bounds[1:] - bounds[:-1]
        return torch.repeat_interleave(torch.arange(len(lengths), device=like.device), lengths)
    if like.dim() == 1:
        return torch.zeros(like.shape, dtype=torch.int64, device=like.device)
    return torch.arange(like.shape[0], device=like.device).unsqueeze(1).expand(like.shape)


def num_rows(like: Tensor, cu_seqlens: Tensor | None = None) -> int:
    """Empty ones included, wherever they stand."""
    if cu_seqlens is not None:
        return len(cu_seqlens) - 1
    return 1 if like.dim() == 1 else like.shape[0]


def segment_sum(values: Tensor, segments: Tensor, count: int | None = None) -> Tensor:
    """Sum of `values` in every segment; `[count]`, zero for an empty one."""
    size = count if count is not None else int(segments.max()) + 1 if segments.numel() else 0
    total = torch.zeros(size, dtype=values.dtype, device=values.device)
    return total.index_add(0, segments.reshape(-1), values.reshape(-1))


def segment_mean(values: Tensor, segments: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked tokens of every segment; 0 for a segment without any."""
    weight = mask.to(values.dtype)
    total = segment_sum(torch.where(mask.bool(), values, 0.0), segments)
    return total / segment_sum(weight, segments, len(total)).clamp(min=1)


def compact(
    values: Tensor, action_mask: Tensor, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The masked tokens of each row, at least float32, left-aligned: `[rows, longest]` and the slots that are real.

    values [a b c | d e f], mask [1 0 1 | 0 1 0]  ->  [[a c] [e 0]], [[1 1] [1 0]]
    """
    values, chosen = widened(values), action_mask.reshape(-1).bool()
    kept = row_ids(action_mask, cu_seqlens).reshape(-1)[chosen]
    counts = torch.bincount(kept, minlength=num_rows(action_mask, cu_seqlens))
    longest = int(counts.max()) if counts.numel() else 0
    filled = torch.arange(longest, device=kept.device).unsqueeze(0) < counts.unsqueeze(1)
    dense = torch.zeros(filled.shape, dtype=values.dtype, device=values.device)
    order = torch.argsort(kept, stable=True)
    dense[filled] = values.reshape(-1)[chosen][order]
    return dense, filled


def expand(dense: Tensor, filled: Tensor, action_mask: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """The inverse of `compact`: back to the tokens' own places, 0 where the mask is 0."""
    chosen = action_mask.reshape(-1).bool()
    places = torch.nonzero(chosen).reshape(-1)
    kept = row_ids(action_mask, cu_seqlens).reshape(-1)[chosen]
    order = torch.argsort(kept, stable=True)
    result = torch.zeros(chosen.shape, dtype=dense.dtype, device=dense.device)
    result[places[order]] = dense[filled]
    return result.reshape(action_mask.shape)
