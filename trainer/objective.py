"""The loss the learner minimizes: decoupled PPO with an importance correction, and the sums worth watching.

Departs from 2505.24298 in the correction: its importance weight is cut at 5 (tokens beyond are dropped); IcePop here drops below 0.5 too.
Every sum is over sampled tokens of one microbatch, so that ranks and microbatches add up.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rollout.settings import FlaggedTokens
from trainer.algorithms import clipped_high, clipped_low, decoupled_ppo, icepop, k3, tis
from trainer.algorithms.ratio import ratio
from trainer.flagged import flagged_weights
from trainer.megatron.microbatch import Microbatch


@dataclass(frozen=True, slots=True)
class Objective:
    clip_low: float = 0.2
    clip_high: float = 0.28
    correction: Literal["icepop", "tis"] = "icepop"
    correction_low: float = 0.5
    correction_high: float = 5.0
    flagged_tokens: FlaggedTokens = "correct"

    def __call__(
        self, current_logprobs: Tensor, entropies: Tensor, microbatch: Microbatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of W * l over the microbatch, and its detached sums."""
        weights = self.importance_weights(microbatch)
        token_loss = decoupled_ppo(
            current_logprobs,
            microbatch.proximal_logprobs,
            advantages=microbatch.advantages,
            importance_weights=weights,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
        )
        loss = (microbatch.weights * token_loss).sum()
        sums = self.sums(current_logprobs.detach(), weights, microbatch)
        return loss, sums | {"entropy": entropies.detach().double().sum()}

    def importance_weights(self, microbatch: Microbatch) -> Tensor:
        kind = icepop if self.correction == "icepop" else tis
        proximal, behavior = microbatch.proximal_logprobs, microbatch.behavior_logprobs
        weights = kind(proximal, behavior, low=self.correction_low, high=self.correction_high)
        if microbatch.flags is None:
            return weights
        return flagged_weights(
            weights,
            proximal_logprobs=proximal,
            behavior_logprobs=behavior,
            flags=microbatch.flags,
            handling=self.flagged_tokens,
            high=self.correction_high,
        )

    def sums(
        self, current_logprobs: Tensor, weights: Tensor, microbatch: Microbatch
    ) -> dict[str, Tensor]:
        """What `report.py` divides by `tokens` and its signed parts."""
        mask, advantages = microbatch.action_mask, microbatch.advantages
        behavior, proximal = microbatch.behavior_logprobs, microbatch.proximal_logprobs
        raw = ratio(proximal, behavior)
        high = clipped_high(current_logprobs, proximal, advantages=advantages, bound=self.clip_high)
        low = clipped_low(current_logprobs, proximal, advantages=advantages, bound=self.clip_low)

        def total(values: Tensor) -> Tensor:
            return torch.where(mask, values.double(), 0.0).sum()

        return {
            "tokens": total(torch.ones_like(raw)),
            "positive_tokens": total(advantages > 0),
            "negative_tokens": total(advantages < 0),
            "clipped_high": total(high),
            "clipped_low": total(low),
            "rejected": total(weights == 0),
            "kl": total(k3(behavior, proximal)),
            "importance_weight": total(raw),
            "importance_weight_squared": total(raw**2),
        }
