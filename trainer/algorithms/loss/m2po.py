"""M2PO (2510.01161): no clip; the tokens that moved most are left out until the second moment is small."""

import torch
from torch import Tensor

from trainer.algorithms.entry import Setting
from trainer.algorithms.loss.record import PolicyLoss
from trainer.algorithms.ratio import log_ratio, ratio


def m2po_mask(
    current_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    action_mask: Tensor,
    threshold: float = 0.04,
) -> Tensor:
    """Masked tokens kept: the largest (logp - behav_logp)^2 go first until the mean of the rest < threshold.

    Over all tokens of the batch, keeping at least one; of two that moved equally far the later goes first.
    """
    mask = action_mask.bool()
    moments = log_ratio(current_logprobs.detach(), behavior_logprobs)[mask] ** 2
    if moments.numel() == 0:
        return mask
    ascending, order = torch.sort(moments, stable=True)
    counts = torch.arange(1, len(ascending) + 1, device=ascending.device)
    means = ascending.double().cumsum(0) / counts
    num_kept = max(1, int((means < threshold).sum()))
    kept = torch.zeros_like(moments, dtype=torch.bool)
    kept[order[:num_kept]] = True
    result = torch.zeros_like(mask)
    result[mask] = kept
    return result


def m2po(
    current_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    advantages: Tensor,
    kept: Tensor,
) -> Tensor:
    """M2PO (2510.01161): -A * rho_mu on tokens kept by `m2po_mask`; rho_mu is against behav_logp, so it takes no other weight."""
    return torch.where(kept, -advantages * ratio(current_logprobs, behavior_logprobs), 0.0)


M2PO = PolicyLoss(
    name="m2po",
    formula=m2po,
    step_mask=m2po_mask,
    settings=(
        Setting(
            "m2po_threshold",
            0.04,
            "M2PO: bound of the mean squared log-ratio",
            parameter="threshold",
            gt=0,
            idle_from=1.0,
        ),
    ),
)
