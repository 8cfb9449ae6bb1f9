"""Rows into the microbatches of one optimizer step.

The denominators of the token weights count every sampled token of the given rows. Rows without an advantage cannot move a weight: they
count in the denominators and are not in the microbatches, unless the composition has a term that needs no advantage.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.batch.episode_rows import Row
from trainer.batch.token_weights import token_weights
from trainer.batch.tree import Branch, pack_trees
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch, TrainBatch
from trainer.learner.paths import MIN_SAVING


def pack_rows(
    rows: Sequence[Row],
    *,
    token_budget: int,
    ranks: int = 1,
    parts: Composition | None = None,
    min_saving: float = MIN_SAVING,
) -> TrainBatch:
    """Rows that can move a weight in microbatches, under weights whose denominator counts all rows."""
    parts = parts or Composition()
    numbered = dict(enumerate(rows))
    bins = microbatch_rows(
        numbered, parts=parts, token_budget=token_budget, ranks=ranks, min_saving=min_saving
    )
    return assemble(numbered, bins, parts=parts)


def moves(row: Row, parts: Composition) -> bool:
    """Whether the row can move a weight."""
    return row.trains and (row.has_signal or parts.needs_every_row)


def microbatch_rows(
    rows: Mapping[int, Row],
    *,
    parts: Composition,
    token_budget: int,
    ranks: int,
    min_saving: float,
) -> tuple[tuple[Branch, ...], ...]:
    """Which rows go into which microbatch, and what they share there."""
    chosen = {i: row.sequence for i, row in rows.items() if moves(row, parts)}
    return pack_trees(chosen, token_budget=token_budget, multiple=ranks, min_saving=min_saving)


def assemble(
    rows: Mapping[int, Row],
    bins: Sequence[Sequence[Branch]],
    *,
    parts: Composition,
    training_version: int | None = None,
) -> TrainBatch:
    """The microbatches of these bins."""
    if not bins:
        return TrainBatch(())
    counted = [i for i, row in rows.items() if row.trains]
    weights = dict(zip(counted, token_weights([rows[i] for i in counted], parts), strict=True))
    return TrainBatch(
        tuple(
            _microbatch(
                [rows[branch.row].without_first(branch.shared) for branch in bin_],
                [weights[branch.row][branch.shared :] * rows[branch.row].weight for branch in bin_],
                [branch.parent for branch in bin_],
                training_version,
            )
            for bin_ in bins
        )
    )


def _microbatch(
    rows: Sequence[Row],
    weights: Sequence[Tensor],
    parents: Sequence[int],
    training_version: int | None,
) -> Microbatch:
    lengths = [0, *(len(row.sequence) for row in rows)]
    sequences = [row.sequence for row in rows]
    mask = _joined([s.action_mask for s in sequences], torch.bool)
    versions = _joined([s.versions for s in sequences], torch.int32)
    return Microbatch(
        tokens=_joined([s.tokens for s in sequences], torch.int64),
        cu_seqlens=torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32),
        action_mask=mask,
        advantages=_joined([row.advantages for row in rows], torch.float32),
        behavior_logprobs=_joined([s.behavior_logprobs for s in sequences], torch.float32),
        proximal_logprobs=torch.zeros(len(mask)),
        weights=torch.cat(list(weights)),
        temperatures=_joined([row.temperatures for row in rows], torch.float32),
        flags=_joined([s.flags for s in sequences], torch.int32),
        staleness=None
        if training_version is None
        else torch.where(mask, training_version - versions, 0),
        parents=torch.tensor(parents) if max(parents) >= 0 else None,
    )


def _joined(arrays: Sequence[NDArray[Any]], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays)).to(dtype)
