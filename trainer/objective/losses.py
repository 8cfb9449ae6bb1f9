"""The parts of the loss that a composition names: policy loss, importance weights and KL, per token.

Each entry is called with those of these inputs that its formula reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer import algorithms
from trainer.algorithms.entry import call
from trainer.composition.composition import Composition
from trainer.learner.microbatch import Microbatch


@dataclass(frozen=True, slots=True)
class Measured:
    """A microbatch and the logprobs of its tokens now; `current` carries the gradient."""

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
    def inputs(self) -> dict[str, object]:
        """What a formula may read, by the names of its parameters."""
        return microbatch_inputs(self.current, self.part) | {"proximal_logprobs": self.proximal}


def microbatch_inputs(current: Tensor, part: Microbatch) -> dict[str, object]:
    """The same with the proximal logprobs as they were measured."""
    staleness = torch.zeros_like(part.tokens) if part.staleness is None else part.staleness
    return {
        "current_logprobs": current,
        "proximal_logprobs": part.proximal_logprobs,
        "behavior_logprobs": part.behavior_logprobs,
        "reference_logprobs": part.reference_logprobs,
        "advantages": part.advantages,
        "action_mask": part.action_mask,
        "cu_seqlens": part.cu_seqlens,
        "kept": part.action_mask if part.kept is None else part.kept,
        # Only the difference of the two versions counts.
        "versions": -staleness,
        "training_version": 0,
    }


def measured(parts: Composition, current: Tensor, part: Microbatch) -> Measured:
    """With the proximal policy that the composition names."""
    entry = parts.proximal_entry
    inputs = microbatch_inputs(current, part) | parts.own(entry)
    return Measured(current, call(entry.formula, inputs), part)


def policy_loss(parts: Composition, at: Measured) -> Tensor:
    """The trust region, with the dual clip around it if there is one."""
    loss = call(parts.loss_entry.formula, loss_inputs(parts, at))
    if parts.dual_clip > 0 and parts.reads("dual_clip"):
        loss = algorithms.dual_clip(loss, at.advantages, bound=parts.dual_clip)
    return loss


def loss_inputs(parts: Composition, at: Measured) -> Mapping[str, object]:
    """What the policy loss and its bounds may read."""
    clips = {name: getattr(parts, name) for name in ("clip_low", "clip_high", "dual_clip")}
    return at.inputs | clips | parts.own(parts.loss_entry)


def correction(parts: Composition, at: Measured) -> Tensor:
    """Importance weights."""
    entry = parts.correction_entry
    bounds = {"low": parts.correction_low, "high": parts.correction_high}
    return call(entry.formula, at.inputs | bounds | parts.own(entry))


def kept_rows(parts: Composition, at: Measured) -> Tensor:
    """Off-policy sequence masking: false for the rows that it drops."""
    if parts.opsm_delta == 0:
        return torch.ones_like(at.part.action_mask)
    return call(algorithms.opsm, at.inputs | {"delta": parts.opsm_delta})


def origin(parts: Composition, at: Measured) -> Tensor:
    """The logprobs from which the loss measures a token's ratio; without a ratio, those of the current policy."""
    start = parts.loss_entry.ratio_from
    if start == "behavior":
        return at.behavior
    if start == "current" and parts.proximal == "behavior":
        return at.current.detach()
    return at.proximal


def reference_kl(parts: Composition, at: Measured) -> Tensor:
    """The estimate whose weighted sum is added to the loss."""
    assert at.part.reference_logprobs is not None, "the reference policy was not measured"
    return call(parts.known.kl_estimator[parts.kl_estimator].formula, at.inputs)


def clipped(parts: Composition, at: Measured) -> dict[str, Tensor]:
    """Where a bound stops a token with A > 0 above it (high), with A < 0 below it (low), or with A < 0 above the dual clip (dual)."""
    find_bounds = parts.loss_entry.bounds
    if find_bounds is None:
        return dict.fromkeys(("high", "low", "dual"), torch.zeros_like(at.part.action_mask))
    beyond = call(find_bounds, loss_inputs(parts, at))
    rises, falls = at.advantages > 0, at.advantages < 0
    return {
        "high": beyond.above & rises,
        "low": beyond.below & falls,
        "dual": beyond.far_above & falls,
    }
