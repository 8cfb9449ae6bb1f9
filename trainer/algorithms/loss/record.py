"""The record of a policy loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor

from trainer.algorithms.entry import Entry, Formula

# What a mask over a whole step may read of its microbatches, beside the current logprobs.
STEP_COLUMNS = ("behavior_logprobs", "advantages", "action_mask")


class Bounds(NamedTuple):
    """bool `[T]`: tokens beyond the upper, the lower, and the dual clip's bound."""

    above: Tensor
    below: Tensor
    far_above: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss(Entry):
    """A loss per token, minimized; its ratio starts from the logprobs that the formula reads beside the current ones."""

    inputs: ClassVar = frozenset(
        {
            *("current_logprobs", "proximal_logprobs", *STEP_COLUMNS, "cu_seqlens", "kept"),
            *("clip_low", "clip_high", "dual_clip"),
        }
    )
    usual_clip: tuple[float, float] | None = None  # clip_low and clip_high unless they are set
    bounds: Callable[..., Bounds] | None = None  # where it stops a token, for the metrics
    step_mask: Formula | None = None  # the tokens kept, decided over all tokens of a step at once
    is_per_row: bool = False  # one ratio for all tokens of a row

    @property
    def functions(self) -> tuple[Callable[..., object], ...]:
        return tuple(f for f in (self.formula, self.bounds, self.step_mask) if f is not None)

    @property
    def clips(self) -> bool:
        """Whether it has PPO's bounds of the ratio."""
        return self.reads("clip_low")

    @property
    def ratio_from(self) -> Literal["behavior", "proximal", "current"]:
        """The policy from which the ratio starts; `current`: there is no ratio."""
        if self.reads("behavior_logprobs"):
            return "behavior"
        return "proximal" if self.reads("proximal_logprobs") else "current"
