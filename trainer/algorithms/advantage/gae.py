"""Critic advantages: GAE (1506.02438) and the value loss of PPO (1707.06347).

"Next" is the next TRAINABLE token: an observation between two turns neither discounts nor bootstraps, so the result on a row with holes
is that on the compacted row. Whiten advantages over the batch if wanted; never whiten returns.
"""

import torch
from torch import Tensor

from trainer.algorithms.advantage.record import Advantage
from trainer.algorithms.precision import widened
from trainer.algorithms.rows import compact, expand


def gae(
    token_rewards: Tensor,
    values: Tensor,
    *,
    action_mask: Tensor,
    gamma: float = 1.0,
    lam: float | Tensor = 1.0,
    bootstrap: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """GAE (1506.02438): delta_t = r_t + gamma * V_next - V_t, A_t = delta_t + gamma * lam * A_next, R_t = A_t + V_t.

    `lam` may be one per row. `bootstrap` `[rows]` is V(s_T) of rows cut by a length or turn limit, 0 for those that terminated.
    """
    rewards, filled = compact(token_rewards, action_mask, cu_seqlens)
    estimates, _ = compact(values, action_mask, cu_seqlens)
    next_value = estimates.new_zeros(len(estimates)) if bootstrap is None else bootstrap.clone()
    running = torch.zeros_like(next_value)
    advantages = torch.zeros_like(estimates)
    for t in range(estimates.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - estimates[:, t]
        step = delta + gamma * lam * running
        running = torch.where(filled[:, t], step, running)
        next_value = torch.where(filled[:, t], estimates[:, t], next_value)
        advantages[:, t] = running
    spread = expand(advantages, filled, action_mask, cu_seqlens)
    return spread, torch.where(action_mask.bool(), spread + values, 0.0)


def length_adaptive_lambda(length: Tensor, *, alpha: float = 0.05) -> Tensor:
    """VAPO (2504.05118): lambda of the policy = 1 - 1 / (alpha * length), held within [0, 1]."""
    return (1 - 1 / (alpha * length)).clamp(0, 1)


def value_loss(values: Tensor, returns: Tensor, *, old_values: Tensor, clip: float = 0.2) -> Tensor:
    """PPO's (1707.06347) value loss: 0.5 * max((V - R)^2, (V_old + clip(V - V_old, +-c) - R)^2) per token."""
    values, returns, old_values = widened(values), widened(returns), widened(old_values)
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)


GAE = Advantage(
    name="gae",
    formula=gae,  # type: ignore[arg-type]  # for `explain`; it is called as `from_values`
    from_values=gae,
    is_return=True,
)
