"""Off-policy corrections: weights for tokens that another policy sampled.

w = exp(old_logp - behav_logp) isolates engine mismatch and staleness; the ratio inside the loss isolates the drift within a batch.
Never multiply a weight by a ratio that already starts from behav_logp. Products over a sequence explode with its length:
beyond about a thousand tokens use the token or the geometric kinds. All results are detached.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from trainer.algorithms.entry import Entry
from trainer.algorithms.ratio import LOG_RATIO_BOUND, log_ratio, ratio
from trainer.algorithms.rows import row_ids, segment_mean, segment_sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction(Entry):
    """Importance weights `[T]`, detached, for tokens that another policy than the proximal one sampled."""

    inputs: ClassVar = frozenset(
        {
            *("proximal_logprobs", "behavior_logprobs", "action_mask", "cu_seqlens"),
            *("low", "high"),
        }
    )
    usual_bounds: tuple[float, float] | None = None  # correction_low and correction_high


def uncorrected(behavior_logprobs: Tensor) -> Tensor:
    """Every token weighs 1, or at most correction_high if a grammar or a penalty changed its distribution"""
    return torch.ones_like(behavior_logprobs)


def tis(
    proximal_logprobs: Tensor, behavior_logprobs: Tensor, *, low: float = 0.0, high: float = 2.0
) -> Tensor:
    """TIS, truncated importance weight per token: clip(w, low, high), w = exp(old_logp - behav_logp)."""
    return ratio(proximal_logprobs, behavior_logprobs).clamp(low, high).detach()


def icepop(
    proximal_logprobs: Tensor, behavior_logprobs: Tensor, *, low: float = 0.5, high: float = 5.0
) -> Tensor:
    """IcePop (2510.18855), also token-MIS: w where low <= w <= high, else 0; w = exp(old_logp - behav_logp)."""
    w = ratio(proximal_logprobs, behavior_logprobs).detach()
    return torch.where((w >= low) & (w <= high), w, 0.0)


def seq_tis(
    proximal_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    action_mask: Tensor,
    high: float = 3.0,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Sequence TIS: min(s, high) on each token of a row, s the product of its w."""
    s = _row_product(proximal_logprobs, behavior_logprobs, action_mask, cu_seqlens)
    return s.clamp(max=high)


def seq_mis(
    proximal_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    action_mask: Tensor,
    high: float = 3.0,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Sequence MIS (TRL's default): s, the product of a row's w, and 0 for the whole row where s > high."""
    s = _row_product(proximal_logprobs, behavior_logprobs, action_mask, cu_seqlens)
    return torch.where(s > high, 0.0, s)


def geo_mask(
    proximal_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    action_mask: Tensor,
    low: float = 0.999,
    high: float = 1.002,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Sequence-mask-TIS: w per token, the row dropped unless low <= exp(mean log w) <= high (NeMo-RL)."""
    rows = row_ids(proximal_logprobs, cu_seqlens)
    logs = log_ratio(proximal_logprobs, behavior_logprobs).detach()
    geometric = segment_mean(logs, rows, action_mask)[rows].exp()
    kept = action_mask.bool() & (geometric >= low) & (geometric <= high)
    return torch.where(kept, logs.exp(), 0.0)


def opsm(
    current_logprobs: Tensor,
    behavior_logprobs: Tensor,
    *,
    advantages: Tensor,
    action_mask: Tensor,
    delta: float = 1e-4,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Off-policy sequence mask (DeepSeek-V3.2, 2512.02556): drop a row iff A < 0 and mean(behav_logp - logp) > delta."""
    rows = row_ids(current_logprobs, cu_seqlens)
    drift = segment_mean(log_ratio(behavior_logprobs, current_logprobs.detach()), rows, action_mask)
    return ~((advantages < 0) & (drift[rows] > delta))


def _row_product(
    proximal_logprobs: Tensor,
    behavior_logprobs: Tensor,
    action_mask: Tensor,
    cu_seqlens: Tensor | None,
) -> Tensor:
    rows = row_ids(proximal_logprobs, cu_seqlens)
    logs = log_ratio(proximal_logprobs, behavior_logprobs).detach()
    total = segment_sum(torch.where(action_mask.bool(), logs, 0.0), rows)
    return total.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)[rows].exp()


CORRECTIONS = (
    Correction(name="none", formula=uncorrected),
    Correction(name="tis", formula=tis, usual_bounds=(0.0, 2.0)),
    Correction(name="icepop", formula=icepop, usual_bounds=(0.5, 5.0)),
    Correction(name="seq_tis", formula=seq_tis, usual_bounds=(0.0, 3.0)),
    Correction(name="seq_mis", formula=seq_mis, usual_bounds=(0.0, 3.0)),
    Correction(name="geo_mask", formula=geo_mask, usual_bounds=(0.999, 1.002)),
)
