"""The weight of every token of a batch in its loss, by the mode that the composition names."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from trainer.algorithms import (
    drgrpo,
    prompt_mean,
    seq_mean_token_mean,
    seq_mean_token_sum,
    token_mean,
    traj_mean_token_mean,
)
from trainer.batch.episode_rows import Row
from trainer.composition.composition import Composition

Aggregate = Callable[[Tensor, Sequence[Row], Composition], Tensor]


def token_weights(rows: Sequence[Row], parts: Composition) -> list[Tensor]:
    """One tensor per row; denominators count all rows given, trained or not."""
    mask = torch.cat([torch.from_numpy(row.sequence.action_mask) for row in rows])
    weights = AGGREGATIONS[parts.aggregation](mask, rows, parts)
    return list(torch.split(weights, [len(row.sequence) for row in rows]))


def _bounds(rows: Sequence[Row]) -> Tensor:
    return torch.tensor([0, *(len(row.sequence) for row in rows)]).cumsum(0)


def _drgrpo(mask: Tensor, rows: Sequence[Row], parts: Composition) -> Tensor:
    return drgrpo(mask, generation_budget=parts.generation_budget, cu_seqlens=_bounds(rows))


AGGREGATIONS: Mapping[str, Aggregate] = {
    "token_mean": lambda mask, _rows, _parts: token_mean(mask),
    "seq_mean_token_mean": lambda mask, rows, _: seq_mean_token_mean(
        mask, cu_seqlens=_bounds(rows)
    ),
    "seq_mean_token_sum": lambda mask, rows, _: seq_mean_token_sum(mask, cu_seqlens=_bounds(rows)),
    "drgrpo": _drgrpo,
    "prompt_mean": lambda mask, rows, _: prompt_mean(
        mask, torch.tensor([row.group for row in rows]), cu_seqlens=_bounds(rows)
    ),
    "traj_mean_token_mean": lambda mask, rows, _: traj_mean_token_mean(
        mask, torch.tensor([row.episode for row in rows]), cu_seqlens=_bounds(rows)
    ),
}
