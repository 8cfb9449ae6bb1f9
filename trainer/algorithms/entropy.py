"""Entropy bonus."""

from torch import Tensor


def entropy_bonus(entropy: Tensor, *, coefficient: float = 0.0) -> Tensor:
    """Entropy bonus: -c * H per token, added to the loss under the same weights; H from the unmasked logits."""
    return -coefficient * entropy
