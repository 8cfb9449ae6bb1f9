"""Aggregation: the weight W of every token, so that loss = sum of W * l.

Denominators are those of the WHOLE optimizer step, over all ranks and microbatches; the caller passes all of its rows at once
and slices the result. Rows without a sampled token are not counted. Tokens rejected later, by a trust region or a correction, stay in
the denominators: take the weights from the action mask alone.
"""

import torch
from torch import Tensor

from trainer.algorithms.entry import Entry, Setting
from trainer.algorithms.precision import widened
from trainer.algorithms.rows import row_ids, segment_sum


class Aggregation(Entry):
    """The weight `[T]` of each token in the loss, from the action mask and the owners of its row."""


def token_mean(action_mask: Tensor) -> Tensor:
    """DAPO (2503.14476): W = 1 / sampled tokens of the batch."""
    mask = _weights(action_mask)
    return mask / mask.sum().clamp(min=1)


def seq_mean_token_mean(action_mask: Tensor, *, cu_seqlens: Tensor | None = None) -> Tensor:
    """GRPO (2402.03300): W = 1 / (rows * tokens of the row); every sequence counts the same."""
    rows = row_ids(action_mask, cu_seqlens)
    return _segment_mean_token_mean(action_mask, rows)


def seq_mean_token_sum(action_mask: Tensor, *, cu_seqlens: Tensor | None = None) -> Tensor:
    """RLOO (2402.14740): W = 1 / rows; a sequence is one action."""
    mask = _weights(action_mask)
    return mask / _num_filled(mask, row_ids(action_mask, cu_seqlens))


def drgrpo(
    action_mask: Tensor, *, generation_budget: int, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Dr.GRPO (2503.20783): W = 1 / (rows * budget), the budget a constant of the configuration."""
    return seq_mean_token_sum(action_mask, cu_seqlens=cu_seqlens) / generation_budget


def prompt_mean(action_mask: Tensor, groups: Tensor, *, cu_seqlens: Tensor | None = None) -> Tensor:
    """ScaleRL (2510.13786): W = 1 / (groups * tokens of the group); `groups` `[rows]`."""
    return _owner_mean_token_mean(action_mask, groups, cu_seqlens)


def traj_mean_token_mean(
    action_mask: Tensor, episodes: Tensor, *, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Per episode, however many rows it has: W = 1 / (episodes * tokens of the episode); `episodes` `[rows]`."""
    return _owner_mean_token_mean(action_mask, episodes, cu_seqlens)


def _owner_mean_token_mean(
    action_mask: Tensor, owners: Tensor, cu_seqlens: Tensor | None
) -> Tensor:
    numbered = torch.unique(owners, return_inverse=True)[1]
    return _segment_mean_token_mean(action_mask, numbered[row_ids(action_mask, cu_seqlens)])


def _segment_mean_token_mean(action_mask: Tensor, segments: Tensor) -> Tensor:
    mask = _weights(action_mask)
    tokens = segment_sum(mask, segments).clamp(min=1)[segments]
    return mask / tokens / _num_filled(mask, segments)


def _num_filled(mask: Tensor, segments: Tensor) -> Tensor:
    return (segment_sum(mask, segments) > 0).sum().clamp(min=1)


def _weights(action_mask: Tensor) -> Tensor:
    return widened(action_mask)


AGGREGATIONS = (
    Aggregation(name="token_mean", formula=token_mean),
    Aggregation(name="seq_mean_token_mean", formula=seq_mean_token_mean),
    Aggregation(name="seq_mean_token_sum", formula=seq_mean_token_sum),
    Aggregation(
        name="drgrpo",
        formula=drgrpo,
        settings=(
            Setting(
                "generation_budget",
                0,
                "drgrpo: the constant that it divides by, the tokens an output may have",
                ge=0,
            ),
        ),
    ),
    Aggregation(name="prompt_mean", formula=prompt_mean),
    Aggregation(name="traj_mean_token_mean", formula=traj_mean_token_mean),
)
