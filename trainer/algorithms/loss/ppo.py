"""The score function, PPO's clip and its relatives; a loss per token, minimized.

The ratio starts from `proximal_logprobs`, the policy at the start of this batch. The difference between that policy and the one that
sampled the token is corrected by an importance weight (`corrections.py`).
"""

from math import inf

import torch
from torch import Tensor

from trainer.algorithms.loss.record import Bounds, PolicyLoss
from trainer.algorithms.precision import widened
from trainer.algorithms.ratio import ratio

CLIP_LOW, CLIP_HIGH = 0.2, 0.28
"""DAPO's bounds (2503.14476); the original PPO has 0.2 on both sides."""


def score_function(current_logprobs: Tensor, advantages: Tensor) -> Tensor:
    """REINFORCE (Williams 1992): -A * logp; right only for tokens of the current policy itself."""
    return -widened(advantages) * widened(current_logprobs)


def ppo_clip(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    clip_low: float = CLIP_LOW,
    clip_high: float = CLIP_HIGH,
) -> Tensor:
    """PPO (1707.06347): max(-A * rho, -A * clip(rho, 1 - low, 1 + high)), rho = exp(logp - old_logp)."""
    rho = ratio(current_logprobs, proximal_logprobs)
    return torch.maximum(-advantages * rho, -advantages * rho.clamp(1 - clip_low, 1 + clip_high))


def dual_clip(loss: Tensor, advantages: Tensor, *, bound: float = 3.0) -> Tensor:
    """Dual clip (1912.09729): min(l, -c * A) where A < 0, so that one bad token cannot dominate; c > 1."""
    return torch.where(advantages < 0, torch.minimum(loss, -bound * advantages), loss)


def decoupled_ppo(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    importance_weights: Tensor,
    clip_low: float = CLIP_LOW,
    clip_high: float = CLIP_HIGH,
) -> Tensor:
    """Decoupled PPO (2110.00641, 2505.24298): w * PPO clip around old_logp, w from old_logp and behav_logp.

    `importance_weights` come from `tis`, `icepop` or another correction, detached.
    """
    clipped = ppo_clip(
        current_logprobs,
        proximal_logprobs,
        advantages=advantages,
        clip_low=clip_low,
        clip_high=clip_high,
    )
    return importance_weights.detach() * clipped


def token_bounds(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Bounds:
    """Where a token's ratio is outside the bounds."""
    rho = ratio(current_logprobs, proximal_logprobs)
    return ratio_bounds(rho, clip_low=clip_low, clip_high=clip_high, dual_clip=dual_clip)


def ratio_bounds(rho: Tensor, *, clip_low: float, clip_high: float, dual_clip: float) -> Bounds:
    """Where ratios are outside the bounds; a dual clip of 0 is none."""
    return Bounds(rho > 1 + clip_high, rho < 1 - clip_low, rho > (dual_clip or inf))


SCORE_FUNCTION = PolicyLoss(name="score_function", formula=score_function)
PPO_CLIP = PolicyLoss(name="ppo_clip", formula=ppo_clip, usual_clip=(0.2, 0.2), bounds=token_bounds)
