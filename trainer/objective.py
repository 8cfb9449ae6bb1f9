"""The loss the learner minimizes, composed of its parts, and the sums worth watching.

Per token: importance weight * policy loss + KL + entropy bonus, times the token's weight in the batch. Every sum is over sampled tokens of one
microbatch, so that ranks and microbatches add up.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from rollout.settings import FlaggedTokens
from trainer.algorithms import entropy_bonus, k3
from trainer.algorithms.ratio import ratio
from trainer.composition import Composition
from trainer.flagged import flagged_weights
from trainer.losses import (
    Measured,
    clipped,
    correction,
    kept_rows,
    measured,
    origin,
    policy_loss,
    reference_kl,
)
from trainer.megatron.microbatch import Microbatch
from trainer.staleness import StalenessRule


@dataclass(frozen=True, slots=True)
class Objective:
    parts: Composition = field(default_factory=Composition)
    flagged_tokens: FlaggedTokens = "correct"
    staleness: StalenessRule | None = None  # where stale tokens are not dropped with their group

    def __call__(
        self, current_logprobs: Tensor, entropies: Tensor, microbatch: Microbatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of W * l over the microbatch, and its detached sums."""
        at = measured(self.parts, current_logprobs, microbatch)
        weights = self.importance_weights(at)
        loss = weights * policy_loss(self.parts, at)
        sums = self.sums(at, weights) | {"entropy": entropies.detach().double().sum()}
        if self.parts.kl_in_loss > 0:
            estimate = reference_kl(self.parts, at)
            loss = loss + self.parts.kl_in_loss * estimate
        if self.parts.entropy_bonus != 0:
            loss = loss + entropy_bonus(entropies, coefficient=self.parts.entropy_bonus)
        return (microbatch.weights * loss).sum(), sums

    def importance_weights(self, at: Measured) -> Tensor:
        """Those of the correction, with flagged, far and stale tokens treated as the settings say."""
        weights = correction(self.parts, at)
        if at.part.flags is not None:
            weights = flagged_weights(
                weights,
                origin_logprobs=origin(self.parts, at),
                behavior_logprobs=at.behavior,
                flags=at.part.flags,
                handling=self.flagged_tokens,
                high=self.parts.correction_high,
            )
        weights = torch.where(kept_rows(self.parts, at), weights, 0.0)
        if self.staleness is not None and at.part.staleness is not None:
            weights = weights * self.staleness.token_weights(at.part.staleness)
        return weights

    def sums(self, at: Measured, weights: Tensor) -> dict[str, Tensor]:
        """What `report.py` divides by `tokens` and its signed parts."""
        mask, advantages, kept = at.part.action_mask, at.advantages, at.part.kept
        # The current policy stands for the one before the batch's first step where that was not measured.
        start = at.proximal if self.parts.proximal == "recompute" else at.current.detach()
        raw = ratio(start, at.behavior)
        high, low = clipped(self.parts, at)
        rejected = weights == 0 if kept is None else (weights == 0) | ~kept

        def total(values: Tensor) -> Tensor:
            return torch.where(mask, values.double(), 0.0).sum()

        sums = {
            "tokens": total(torch.ones_like(raw)),
            "positive_tokens": total(advantages > 0),
            "negative_tokens": total(advantages < 0),
            "clipped_high": total(high),
            "clipped_low": total(low),
            "rejected": total(rejected),
            "kl": total(k3(at.behavior, start)),
            "importance_weight": total(raw),
            "importance_weight_squared": total(raw**2),
        }
        reference = at.part.reference_logprobs
        if reference is not None:
            sums["reference_kl"] = total(k3(at.current.detach(), reference))
        return sums
