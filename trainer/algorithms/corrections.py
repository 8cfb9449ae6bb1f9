"""Off-policy corrections: weights for tokens that another policy sampled.

w = exp(old_logp - behav_logp) isolates engine mismatch and staleness; the ratio inside the loss isolates the drift within a batch.
Never put a weight on top of a ratio that is already taken against behav_logp. Products over a sequence explode with its length:
beyond about a thousand tokens use the token or the geometric kinds. All results are detached.
"""

import torch
from torch import Tensor

from trainer.algorithms.precision import widened
from trainer.algorithms.ratio import LOG_RATIO_BOUND, log_ratio, ratio
from trainer.algorithms.rows import row_ids, segment_mean, segment_sum


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
