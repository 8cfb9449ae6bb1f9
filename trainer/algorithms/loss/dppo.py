"""DPPO-TV (2602.04879): a trust region on the probability itself, measured against the behavior policy."""

import torch
from torch import Tensor

from trainer.algorithms.precision import widened
from trainer.algorithms.ratio import log_ratio, ratio


def dppo_tv(
    current_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    advantages: Tensor,
    delta: float = 0.2,
    penalty: float = 0.0,
) -> Tensor:
    """DPPO-TV (2602.04879): -A * rho_mu, dropped where the step would leave |pi - mu| <= delta; + penalty * (logp - behav_logp)^2.

    rho_mu is against behav_logp already: never multiply another importance weight on top. prime-rl has penalty = 1e-3.
    """
    gap = (widened(current_logprobs).exp() - widened(behavior_logprobs).exp()).detach()
    leaves = ((advantages > 0) & (gap > delta)) | ((advantages < 0) & (gap < -delta))
    surrogate = torch.where(leaves, 0.0, -advantages * ratio(current_logprobs, behavior_logprobs))
    return surrogate + penalty * log_ratio(current_logprobs, behavior_logprobs) ** 2
