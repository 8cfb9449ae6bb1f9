"""GSPO (2507.18071): one ratio per sequence, the geometric mean of its tokens' ratios.

The unit is the row it is given. For an episode of several rows each row clips on its own.
"""

import torch
from torch import Tensor

from trainer.algorithms.loss.ppo import ratio_bounds
from trainer.algorithms.loss.record import Bounds, PolicyLoss
from trainer.algorithms.precision import widened
from trainer.algorithms.ratio import log_ratio
from trainer.algorithms.rows import row_ids, segment_mean

CLIP_LOW, CLIP_HIGH = 3e-4, 4e-4


def gspo(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    action_mask: Tensor,
    cu_seqlens: Tensor | None = None,
    clip_low: float = CLIP_LOW,
    clip_high: float = CLIP_HIGH,
) -> Tensor:
    """GSPO (2507.18071): max(-A s, -A clip(s, 1 - low, 1 + high)), s = exp(mean over the row of logp - old_logp).

    On each of its tokens; aggregate with `seq_mean_token_mean`: the mean over sequences. A is constant within a row.
    """
    rows = row_ids(current_logprobs, cu_seqlens)
    mean = segment_mean(log_ratio(current_logprobs, proximal_logprobs), rows, action_mask)
    s = mean[rows].exp()
    chosen = torch.where(action_mask.bool(), widened(advantages), 0.0)
    return _clipped(s, chosen, clip_low=clip_low, clip_high=clip_high)


def gspo_token(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    action_mask: Tensor,
    cu_seqlens: Tensor | None = None,
    clip_low: float = CLIP_LOW,
    clip_high: float = CLIP_HIGH,
) -> Tensor:
    """GSPO-token (2507.18071), for an advantage per token: GSPO with s_t = sg[s] * exp(logp - sg[logp])."""
    rows = row_ids(current_logprobs, cu_seqlens)
    mean = segment_mean(log_ratio(current_logprobs, proximal_logprobs), rows, action_mask)
    # A NaN where nothing was sampled would reach the gradient as 0 * NaN, so it is replaced first.
    own = torch.where(action_mask.bool(), widened(current_logprobs), 0.0)
    s = mean[rows].exp().detach() * (own - own.detach()).exp()
    chosen = torch.where(action_mask.bool(), widened(advantages), 0.0)
    return _clipped(s, chosen, clip_low=clip_low, clip_high=clip_high)


def _clipped(s: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    return torch.maximum(-advantages * s, -advantages * s.clamp(1 - clip_low, 1 + clip_high))


def row_bounds(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    action_mask: Tensor,
    cu_seqlens: Tensor | None,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Bounds:
    """Where the ratio of a token's row is outside the bounds."""
    rows = row_ids(current_logprobs, cu_seqlens)
    mean = segment_mean(log_ratio(current_logprobs, proximal_logprobs), rows, action_mask)
    return ratio_bounds(
        mean[rows].exp(), clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip
    )


USUAL_CLIP = (CLIP_LOW, CLIP_HIGH)
GSPO = PolicyLoss(
    name="gspo", formula=gspo, usual_clip=USUAL_CLIP, bounds=row_bounds, is_per_row=True
)
GSPO_TOKEN = PolicyLoss(
    name="gspo_token", formula=gspo_token, usual_clip=USUAL_CLIP, bounds=row_bounds, is_per_row=True
)
