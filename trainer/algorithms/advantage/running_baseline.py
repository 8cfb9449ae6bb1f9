"""A baseline for groups of one, which have no other member to compare with.

Each such reward is compared with recent rewards: those of earlier batches, with fading weights, and the other groups of one in this batch,
never with itself. The first reward ever has no comparison: it gets the advantage 0 and starts the baseline.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.algorithms.advantage.groups import RELATIVE_RANGE

DECAY = 0.99
"""Each later reward multiplies the weight of an earlier one by this: about the last hundred count."""


@dataclass(frozen=True, slots=True)
class RunningBaseline:
    """Fading weight, mean and variance of rewards seen so far; part of the trainer's checkpoint."""

    weight: float = 0.0
    mean: float = 0.0
    variance: float = 0.0

    def advantages(self, rewards: Tensor, *, epsilon: float = 1e-6) -> Tensor:
        """A_i = (r_i - b_i) / (std + epsilon), b_i the mean of the history and the other rewards `[N]`."""
        scale = math.sqrt(self.after(rewards, decay=1.0).variance) + epsilon
        return (self.differences(rewards.double()) / scale).to(rewards.dtype)

    def differences(self, rewards: Tensor) -> Tensor:
        """A_i = r_i - b_i, for estimators that divide by no deviation; exactly 0 where they are equal `[N]`."""
        values = rewards.double()
        others = self.weight + len(values) - 1
        if others <= 0:
            return torch.zeros_like(rewards)
        baseline = (self.weight * self.mean + values.sum() - values) / others
        difference = values - baseline
        is_signal = difference.abs() > RELATIVE_RANGE * values.abs().clamp(min=1)
        return torch.where(is_signal, difference, 0.0).to(rewards.dtype)

    def after(self, rewards: Tensor, *, decay: float = DECAY) -> "RunningBaseline":
        """The baseline updated with `rewards`."""
        values = rewards.double()
        kept = self.weight * decay ** len(values)
        weight = kept + len(values)
        if weight == 0:
            return self
        mean = (kept * self.mean + float(values.sum())) / weight
        spread = kept * (self.variance + (self.mean - mean) ** 2)
        variance = (spread + float(((values - mean) ** 2).sum())) / weight
        return RunningBaseline(weight=weight, mean=mean, variance=variance)
