"""Returns: discounted sums of later rewards, per token (REINFORCE++) and per turn."""

import torch
from torch import Tensor

from trainer.algorithms.advantage.group_relative import dr_grpo
from trainer.algorithms.advantage.whitening import whiten
from trainer.algorithms.precision import widened
from trainer.algorithms.rows import compact, expand, row_ids


def terminal_rewards(
    rewards: Tensor, action_mask: Tensor, *, cu_seqlens: Tensor | None = None
) -> Tensor:
    """Each row's reward `[rows]` on its LAST masked token, 0 elsewhere; a row may end with the answer of a tool."""
    _, filled = compact(action_mask, action_mask, cu_seqlens)
    last = filled.sum(1, keepdim=True) - 1
    at_end = torch.arange(filled.shape[1], device=filled.device).unsqueeze(0) == last
    spread = torch.where(at_end, widened(rewards).unsqueeze(1), 0.0)
    return expand(spread, filled, action_mask, cu_seqlens)


def discounted_returns(
    token_rewards: Tensor,
    action_mask: Tensor,
    *,
    gamma: float = 1.0,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """G_t = sum over masked k >= t of gamma^(number of masked tokens between) * R_k; 0 where the mask is 0.

    Tokens that were not sampled are skipped: they neither discount nor reset the return.
    """
    dense, filled = compact(token_rewards, action_mask, cu_seqlens)
    returns = torch.zeros_like(dense)
    running = torch.zeros_like(dense[:, 0]) if dense.shape[1] else dense.new_zeros(dense.shape[0])
    for t in range(dense.shape[1] - 1, -1, -1):
        running = dense[:, t] + gamma * running
        returns[:, t] = running
    return expand(returns, filled, action_mask, cu_seqlens)


def reinforce_plus_plus(
    token_rewards: Tensor,
    action_mask: Tensor,
    *,
    gamma: float = 1.0,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """REINFORCE++ (2501.03262): discounted token returns, whitened over the batch.

    `token_rewards` are `terminal_rewards(...) - beta * k1(...)` when a KL penalty is wanted.
    """
    returns = discounted_returns(token_rewards, action_mask, gamma=gamma, cu_seqlens=cu_seqlens)
    return whiten(returns, action_mask)


def reinforce_plus_plus_baseline(
    rewards: Tensor,
    groups: Tensor,
    *,
    action_mask: Tensor,
    episodes: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """REINFORCE++-baseline (2501.03262): r - mean_g broadcast to tokens, whitened over the batch.

    `episodes` `[rows]` names the episode of each row, one of `rewards` and `groups`; without it each row is one.
    """
    centered = dr_grpo(rewards, groups)
    by_row = centered if episodes is None else centered[episodes]
    return whiten(by_row[row_ids(action_mask, cu_seqlens)], action_mask)


def turn_returns(turn_rewards: Tensor, episodes: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Turn returns: A = R_turn = sum over k of gamma^k * r_(turn + k), within each episode; turns in order."""
    turn_rewards = widened(turn_rewards)
    returns = torch.zeros_like(turn_rewards)
    for episode in torch.unique(episodes):
        running = turn_rewards.new_zeros(())
        for turn in reversed(torch.nonzero(episodes == episode).reshape(-1).tolist()):
            running = turn_rewards[turn] + gamma * running
            returns[turn] = running
    return returns
