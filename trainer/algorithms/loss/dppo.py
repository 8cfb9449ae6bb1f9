"""DPPO-TV (2602.04879): a trust region on the probability itself, measured against the behavior policy."""

import torch
from torch import Tensor

from trainer.algorithms.entry import Setting
from trainer.algorithms.loss.record import Bounds, PolicyLoss
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
    above, below, _ = probability_bounds(current_logprobs, behavior_logprobs, delta=delta)
    leaves = ((advantages > 0) & above) | ((advantages < 0) & below)
    surrogate = torch.where(leaves, 0.0, -advantages * ratio(current_logprobs, behavior_logprobs))
    return surrogate + penalty * log_ratio(current_logprobs, behavior_logprobs) ** 2


def probability_bounds(
    current_logprobs: Tensor, behavior_logprobs: Tensor, *, delta: float
) -> Bounds:
    """Where the probability has changed by more than delta."""
    gap = (widened(current_logprobs).exp() - widened(behavior_logprobs).exp()).detach()
    return Bounds(gap > delta, gap < -delta, torch.zeros_like(gap, dtype=torch.bool))


DPPO_TV = PolicyLoss(
    name="dppo_tv",
    formula=dppo_tv,
    bounds=probability_bounds,
    settings=(
        Setting(
            "dppo_delta",
            0.2,
            "DPPO: bound of the change of a probability",
            parameter="delta",
            gt=0,
            idle_from=1.0,
        ),
        Setting(
            "dppo_penalty",
            0.0,
            "DPPO: weight of (logp - behav_logp)^2",
            parameter="penalty",
            ge=0,
            adds_term=True,
        ),
    ),
)
