"""Estimators of KL(policy || reference) from tokens that the policy sampled (2510.01555, 2506.09477).

With x = logp - ref_logp: k1 = x, k2 = x^2 / 2, k3 = exp(-x) - 1 + x. Used IN THE REWARD, k1 (detached) gives the right gradient;
used IN THE LOSS, k2 does when on-policy, k3 approximately, and k1 not at all: its gradient is noise of mean zero.
"""

import torch
from torch import Tensor

from trainer.algorithms.entry import Entry
from trainer.algorithms.precision import widened
from trainer.algorithms.ratio import log_ratio, ratio


class KlEstimator(Entry):
    """An estimate `[T]` of the KL to the reference, from current, reference and proximal logprobs."""


ESTIMATE_BOUND = 10.0
"""The estimate of a single token is clamped to this, as in slime and verl."""


def k1(current_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """k1 = x, x = logp - ref_logp; unbiased, either sign."""
    return log_ratio(current_logprobs, reference_logprobs).clamp(-ESTIMATE_BOUND, ESTIMATE_BOUND)


def k2(current_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """k2 = x^2 / 2, x = logp - ref_logp; biased, >= 0, and its gradient x is the true one on-policy."""
    return (log_ratio(current_logprobs, reference_logprobs) ** 2 / 2).clamp(max=ESTIMATE_BOUND)


def k3(current_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """k3 = exp(-x) - 1 + x, x = logp - ref_logp; unbiased, >= 0."""
    x = log_ratio(current_logprobs, reference_logprobs)
    return (torch.expm1(-x) + x).clamp(max=ESTIMATE_BOUND)


def k3_straight_through(current_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """The value of k3 = exp(-x) - 1 + x with the gradient of k2 = x^2 / 2, x = logp - ref_logp."""
    value, gradient = (f(current_logprobs, reference_logprobs) for f in (k3, k2))
    return value.detach() + gradient - gradient.detach()


def k3_off_policy(
    current_logprobs: Tensor, reference_logprobs: Tensor, *, proximal_logprobs: Tensor
) -> Tensor:
    """DeepSeek-V3.2 (2512.02556): rho * k3, rho = exp(logp - old_logp) NOT detached, whose gradient is rho * x."""
    return ratio(current_logprobs, proximal_logprobs) * k3(current_logprobs, reference_logprobs)


def penalized_rewards(token_rewards: Tensor, estimate: Tensor, *, beta: float) -> Tensor:
    """KL in the reward: r_t - beta * k1_t on every token; the penalty carries no gradient."""
    return widened(token_rewards) - beta * widened(estimate).detach()


KL_ESTIMATORS = (
    KlEstimator(name="k1", formula=k1),
    KlEstimator(name="k2", formula=k2),
    KlEstimator(name="k3", formula=k3),
    KlEstimator(name="k3_straight_through", formula=k3_straight_through),
    KlEstimator(name="k3_off_policy", formula=k3_off_policy),
)
