"""The probability ratio of two policies on the tokens that were sampled."""

from torch import Tensor

from trainer.algorithms.precision import widened

LOG_RATIO_BOUND = 20.0
"""exp of anything larger is no longer a useful float32."""


def log_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The difference logp - other_logp, upcast BEFORE the subtraction and held within +-20."""
    return (widened(numerator) - widened(denominator)).clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """exp(logp - other_logp)."""
    return log_ratio(numerator, denominator).exp()
