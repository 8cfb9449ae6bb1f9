"""CISPO (2506.13585, ScaleRL 2510.13786): clip the importance weight, never the token."""

from torch import Tensor

from trainer.algorithms.entry import Setting
from trainer.algorithms.loss.record import PolicyLoss
from trainer.algorithms.ratio import ratio


def cispo(
    current_logprobs: Tensor,
    proximal_logprobs: Tensor,
    *,
    advantages: Tensor,
    ratio_max: float = 5.0,
) -> Tensor:
    """CISPO (2506.13585): -sg[min(rho, ratio_max)] * A * logp; an absolute upper bound and no lower one."""
    weight = ratio(current_logprobs, proximal_logprobs).clamp(max=ratio_max).detach()
    return -weight * advantages * current_logprobs


CISPO = PolicyLoss(
    name="cispo",
    formula=cispo,
    settings=(Setting("ratio_max", 5.0, "CISPO: upper bound of the ratio", gt=0, idle_from=30.0),),
)
