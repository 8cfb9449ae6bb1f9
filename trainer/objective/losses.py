"""The choices of the loss by name: from logprobs to policy losses, importance weights and KL, per token.

Each entry calls one pure function of `trainer/algorithms/` with the numbers that it reads from the composition.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trainer import algorithms
from trainer.algorithms.ratio import log_ratio
from trainer.algorithms.rows import row_ids, segment_mean
from trainer.composition.composition import AGAINST_BEHAVIOR, Composition
from trainer.learner.microbatch import Microbatch


@dataclass(frozen=True, slots=True)
class Measured:
    """A microbatch and what the policy says about it now; `current` carries the gradient."""

    current: Tensor
    proximal: Tensor
    part: Microbatch

    @property
    def behavior(self) -> Tensor:
        return self.part.behavior_logprobs

    @property
    def advantages(self) -> Tensor:
        return self.part.advantages

    @property
    def row(self) -> dict[str, Tensor]:
        """What a function that knows rows takes besides."""
        return {"action_mask": self.part.action_mask, "cu_seqlens": self.part.cu_seqlens}


Term = Callable[[Composition, Measured], Tensor]


def measured(parts: Composition, current: Tensor, part: Microbatch) -> Measured:
    """With the proximal policy that the composition names."""
    return Measured(current, PROXIMALS[parts.proximal](current, part), part)


def _log_linear(current: Tensor, part: Microbatch) -> Tensor:
    staleness = part.staleness
    if staleness is None:
        staleness = torch.zeros_like(part.tokens)
    # Only the difference of the two versions counts.
    return algorithms.log_linear_proximal(
        current, part.behavior_logprobs, versions=-staleness, training_version=0
    )


PROXIMALS: Mapping[str, Callable[[Tensor, Microbatch], Tensor]] = {
    "recompute": lambda _, part: part.proximal_logprobs,
    "log_linear": _log_linear,
    "behavior": lambda _, part: part.behavior_logprobs,
}


def _clips(parts: Composition) -> dict[str, float]:
    return {"clip_low": parts.clip_low, "clip_high": parts.clip_high}


def _score_function(_: Composition, at: Measured) -> Tensor:
    return algorithms.score_function(at.current, at.advantages)


def _ppo_clip(parts: Composition, at: Measured) -> Tensor:
    return algorithms.ppo_clip(at.current, at.proximal, advantages=at.advantages, **_clips(parts))


def _gspo(parts: Composition, at: Measured, *, of: Callable[..., Tensor]) -> Tensor:
    return of(at.current, at.proximal, advantages=at.advantages, **at.row, **_clips(parts))


def _cispo(parts: Composition, at: Measured) -> Tensor:
    return algorithms.cispo(
        at.current, at.proximal, advantages=at.advantages, ratio_max=parts.ratio_max
    )


def _sapo(parts: Composition, at: Measured) -> Tensor:
    return algorithms.sapo(
        at.current,
        at.proximal,
        advantages=at.advantages,
        temperature_positive=parts.temperature_positive,
        temperature_negative=parts.temperature_negative,
    )


def _dppo_tv(parts: Composition, at: Measured) -> Tensor:
    return algorithms.dppo_tv(
        at.current,
        at.behavior,
        advantages=at.advantages,
        delta=parts.dppo_delta,
        penalty=parts.dppo_penalty,
    )


def _m2po(_: Composition, at: Measured) -> Tensor:
    kept = at.part.action_mask if at.part.kept is None else at.part.kept
    return algorithms.m2po(at.current, at.behavior, advantages=at.advantages, kept=kept)


POLICY_LOSSES: Mapping[str, Term] = {
    "score_function": _score_function,
    "ppo_clip": _ppo_clip,
    "gspo": partial(_gspo, of=algorithms.gspo),
    "gspo_token": partial(_gspo, of=algorithms.gspo_token),
    "cispo": _cispo,
    "sapo": _sapo,
    "dppo_tv": _dppo_tv,
    "m2po": _m2po,
}


def policy_loss(parts: Composition, at: Measured) -> Tensor:
    """The trust region, with the dual clip around it if there is one."""
    loss = POLICY_LOSSES[parts.policy_loss](parts, at)
    if parts.dual_clip > 0 and parts.reads("dual_clip"):
        loss = algorithms.dual_clip(loss, at.advantages, bound=parts.dual_clip)
    return loss


def _token_weight(parts: Composition, at: Measured, *, of: Callable[..., Tensor]) -> Tensor:
    return of(at.proximal, at.behavior, low=parts.correction_low, high=parts.correction_high)


def _row_weight(parts: Composition, at: Measured, *, of: Callable[..., Tensor]) -> Tensor:
    return of(at.proximal, at.behavior, high=parts.correction_high, **at.row)


CORRECTIONS: Mapping[str, Term] = {
    "none": lambda _, at: torch.ones_like(at.behavior),
    "tis": partial(_token_weight, of=algorithms.tis),
    "icepop": partial(_token_weight, of=algorithms.icepop),
    "seq_tis": partial(_row_weight, of=algorithms.seq_tis),
    "seq_mis": partial(_row_weight, of=algorithms.seq_mis),
    "geo_mask": lambda parts, at: algorithms.geo_mask(
        at.proximal,
        at.behavior,
        low=parts.correction_low,
        high=parts.correction_high,
        **at.row,
    ),
}


def correction(parts: Composition, at: Measured) -> Tensor:
    """Importance weights."""
    return CORRECTIONS[parts.correction](parts, at)


def kept_rows(parts: Composition, at: Measured) -> Tensor:
    """Off-policy sequence masking: false for the rows that it drops."""
    if parts.opsm_delta == 0:
        return torch.ones_like(at.part.action_mask)
    return algorithms.opsm(
        at.current, at.behavior, advantages=at.advantages, delta=parts.opsm_delta, **at.row
    )


def origin(parts: Composition, at: Measured) -> Tensor:
    """The logprobs from which the loss measures a token's ratio; the score function takes every token for the current policy's own."""
    if parts.policy_loss in AGAINST_BEHAVIOR:
        return at.behavior
    if parts.policy_loss == "score_function" and parts.proximal == "behavior":
        return at.current.detach()
    return at.proximal


KL_ESTIMATORS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "k1": lambda current, reference, _: algorithms.k1(current, reference),
    "k2": lambda current, reference, _: algorithms.k2(current, reference),
    "k3": lambda current, reference, _: algorithms.k3(current, reference),
    "k3_straight_through": lambda current, reference, _: algorithms.k3_straight_through(
        current, reference
    ),
    "k3_off_policy": lambda current, reference, proximal: algorithms.k3_off_policy(
        current, reference, proximal_logprobs=proximal
    ),
}


def reference_kl(parts: Composition, at: Measured) -> Tensor:
    """The estimate whose weighted sum is added to the loss."""
    reference = at.part.reference_logprobs
    assert reference is not None, "the reference policy was not measured"
    return KL_ESTIMATORS[parts.kl_estimator](at.current, reference, at.proximal)


def clipped(parts: Composition, at: Measured) -> dict[str, Tensor]:
    """Where the trust region stops a token from moving up (high), from moving down (low), or the dual clip does though it moves up."""
    if parts.policy_loss not in BOUNDS:
        return dict.fromkeys(("high", "low", "dual"), torch.zeros_like(at.part.action_mask))
    above, below, far_above = BOUNDS[parts.policy_loss](parts, at)
    rises, falls = at.advantages > 0, at.advantages < 0
    return {"high": above & rises, "low": below & falls, "dual": far_above & falls}


Bounds = tuple[Tensor, Tensor, Tensor]  # beyond the upper, the lower, the dual clip's


def _ratio_bounds(parts: Composition, at: Measured, *, by_row: bool) -> Bounds:
    logs = log_ratio(at.current, at.proximal)
    if by_row:
        rows = row_ids(logs, at.part.cu_seqlens)
        logs = segment_mean(logs, rows, at.part.action_mask)[rows]
    rho = logs.exp()
    far_above = rho > (parts.dual_clip or math.inf)
    return rho > 1 + parts.clip_high, rho < 1 - parts.clip_low, far_above


def _probability_bounds(parts: Composition, at: Measured) -> Bounds:
    gap = at.current.exp() - at.behavior.exp()
    return gap > parts.dppo_delta, gap < -parts.dppo_delta, torch.zeros_like(at.part.action_mask)


BOUNDS: Mapping[str, Callable[[Composition, Measured], Bounds]] = {
    "ppo_clip": partial(_ratio_bounds, by_row=False),
    "gspo": partial(_ratio_bounds, by_row=True),
    "gspo_token": partial(_ratio_bounds, by_row=True),
    "dppo_tv": _probability_bounds,
}
