"""The loss that the learner minimizes, composed of its parts, and the sums that metrics are made of.

Per token: importance weight * policy loss + KL + entropy bonus, times the token's weight in the batch. Every sum is over sampled tokens of one
microbatch, so that ranks and microbatches add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rollout.settings import FlaggedTokens
from trainer.algorithms import entropy_bonus, k3
from trainer.algorithms.ratio import ratio
from trainer.batch.flagged_tokens import flagged_weights
from trainer.batch.staleness import StalenessRule
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch
from trainer.objective.losses import (
    Measured,
    clipped,
    correction,
    kept_rows,
    measured,
    origin,
    policy_loss,
    reference_kl,
)

# The rules that may take a token out of the gradient, in the order in which they apply.
REJECTING = ("correction", "flagged_tokens", "opsm", "stale_tokens", "step_mask")
LAST_RULE = REJECTING[-1]


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
        after = self._weights_after_each(at)
        loss = after[LAST_RULE] * policy_loss(self.parts, at)
        sums = self.sums(at, after) | {"entropy": entropies.detach().double().sum()}
        if self.parts.kl_in_loss > 0:
            estimate = reference_kl(self.parts, at)
            loss = loss + self.parts.kl_in_loss * estimate
        if self.parts.entropy_bonus != 0:
            loss = loss + entropy_bonus(entropies, coefficient=self.parts.entropy_bonus)
        return (microbatch.weights * loss).sum(), sums

    def importance_weights(self, at: Measured) -> Tensor:
        """The weights after all rules: those of the correction, changed for flagged, dropped and stale tokens."""
        return self._weights_after_each(at)[LAST_RULE]

    def _weights_after_each(self, at: Measured) -> dict[str, Tensor]:
        """Importance weights after each rule, in order."""
        after = {"correction": correction(self.parts, at)}
        weights = after["correction"]
        if at.part.flags is not None:
            weights = flagged_weights(
                weights,
                origin_logprobs=origin(self.parts, at),
                behavior_logprobs=at.behavior,
                flags=at.part.flags,
                handling=self.flagged_tokens,
                high=self.parts.correction_high,
            )
        after["flagged_tokens"] = weights
        weights = after["opsm"] = torch.where(kept_rows(self.parts, at), weights, 0.0)
        if self.staleness is not None and at.part.staleness is not None:
            weights = weights * self.staleness.token_weights(at.part.staleness)
        after["stale_tokens"] = weights
        if at.part.kept is not None:
            weights = torch.where(at.part.kept, weights, 0.0)
        after[LAST_RULE] = weights
        return after

    def sums(self, at: Measured, after: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over sampled tokens; `after` are the weights after each rule."""
        mask, advantages = at.part.action_mask, at.advantages
        # Where the policy before the first step was not measured, the current one is used instead.
        start = at.proximal if self.parts.proximal == "recompute" else at.current.detach()
        raw = ratio(start, at.behavior)
        is_rejected = after[LAST_RULE] == 0

        def total(values: Tensor) -> Tensor:
            return torch.where(mask, values.double(), 0.0).sum()

        sums = {
            "tokens": total(torch.ones_like(raw)),
            "positive_tokens": total(advantages > 0),
            "negative_tokens": total(advantages < 0),
            **{f"clipped_{side}": total(v) for side, v in clipped(self.parts, at).items()},
            "rejected": total(is_rejected),
            "kl": total(k3(at.behavior, start)),
            "importance_weight": total(raw),
            "importance_weight_squared": total(raw**2),
            "importance_weight_max": torch.where(mask, raw.double(), 0.0).max(),
        }
        before = torch.ones_like(raw)
        for rule, weights in after.items():
            sums[f"rejected_by_{rule}"] = total(is_rejected & (weights == 0) & (before != 0))
            before = weights
        reference = at.part.reference_logprobs
        if reference is not None:
            sums["reference_kl"] = total(k3(at.current.detach(), reference))
        return sums
