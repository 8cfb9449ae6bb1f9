"""The proximal policy: where ratios start. Measured by a pass, interpolated, or the policy that sampled."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainer.algorithms.entry import Entry
from trainer.algorithms.precision import widened


@dataclass(frozen=True, slots=True, kw_only=True)
class Proximal(Entry):
    """The logprobs `[T]` of the policy at the start of the batch."""

    inputs: ClassVar = frozenset(
        {
            *("current_logprobs", "proximal_logprobs", "behavior_logprobs"),
            *("versions", "training_version"),
        }
    )
    needs_pass: bool = False  # the trained policy is measured before its first step


def recomputed(proximal_logprobs: Tensor) -> Tensor:
    """old_logp is measured by a pass of the trained policy before the first step on a batch"""
    return proximal_logprobs


def log_linear_proximal(
    current_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    versions: Tensor,
    training_version: int,
) -> Tensor:
    """A-3PO (2512.06547), without a forward pass: old_logp = behav_logp + alpha * (sg[logp] - behav_logp).

    alpha = (v_cur - 1 - v) / (v_cur - v) within [0, 1], per token; 0 where v >= v_cur - 1.
    """
    current, behavior = widened(current_logprobs).detach(), widened(behavior_logprobs)
    age = (training_version - versions).to(current.dtype)
    alpha = ((age - 1) / age.clamp(min=1)).clamp(0, 1)
    return behavior + alpha * (current - behavior)


def sampling(behavior_logprobs: Tensor) -> Tensor:
    """old_logp is behav_logp: the ratio starts from the policy that sampled, no pass is needed"""
    return behavior_logprobs


PROXIMALS = (
    Proximal(name="recompute", formula=recomputed, needs_pass=True),
    Proximal(name="log_linear", formula=log_linear_proximal),
    Proximal(name="behavior", formula=sampling),
)
