"""Entropy bonus."""

from torch import Tensor

from trainer.algorithms.precision import widened


def entropy_bonus(entropy: Tensor, *, coefficient: float = 0.0) -> Tensor:
    """Entropy bonus: -c * H per token, added to the loss under the same weights; H from the unmasked logits."""
    return -coefficient * widened(entropy)
