"""SAPO (2511.20347): a soft gate in place of PPO's clip."""

import torch
from torch import Tensor

from trainer.algorithms.entry import Setting
from trainer.algorithms.loss.record import PolicyLoss
from trainer.algorithms.ratio import ratio


def sapo(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    temperature_positive: float = 1.0,
    temperature_negative: float = 1.05,
) -> Tensor:
    """SAPO (2511.20347): -A * (4 / tau) * sigmoid(tau * (rho - 1)), tau by the sign of A; the gradient is largest at rho = 1."""
    rho = ratio(current_logprobs, proximal_logprobs)
    positive = torch.full_like(rho, temperature_positive)
    tau = torch.where(advantages > 0, positive, temperature_negative)
    return -advantages * (4 / tau) * torch.sigmoid(tau * (rho - 1))


SAPO = PolicyLoss(
    name="sapo",
    formula=sapo,
    settings=(
        Setting("temperature_positive", 1.0, "SAPO: temperature where A > 0", gt=0),
        Setting("temperature_negative", 1.05, "SAPO: temperature where A <= 0", gt=0),
    ),
)
