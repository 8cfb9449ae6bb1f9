"""What to watch while training off-policy. Sums only, so that ranks and microbatches add up; the caller divides."""

import torch
from torch import Tensor

from trainer.algorithms.ratio import ratio


def effective_sample_size(weights: Tensor, action_mask: Tensor) -> Tensor:
    """(sum w)^2 / (N sum w^2) over masked tokens: 1 on-policy, near 0 if few tokens carry all the weight; 1 without tokens."""
    chosen = weights[action_mask.bool()].double()
    if chosen.numel() == 0:
        return torch.ones((), dtype=torch.float64)
    return chosen.sum() ** 2 / (len(chosen) * (chosen**2).sum()).clamp(min=1e-300)


def clipped_high(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    bound: float,
) -> Tensor:
    """Where PPO's upper clip acts: A > 0 and rho > 1 + bound."""
    return (advantages > 0) & (ratio(current_logprobs, proximal_logprobs) > 1 + bound)


def clipped_low(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    bound: float,
) -> Tensor:
    """Where PPO's lower clip acts: A < 0 and rho < 1 - bound."""
    return (advantages < 0) & (ratio(current_logprobs, proximal_logprobs) < 1 - bound)
