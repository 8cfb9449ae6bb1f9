"""Pure functions of reinforcement learning: rewards to advantages to a loss per token.

Tensors in, tensors out; no settings, devices, logging or collectives. Index t describes the probability OF token t. Token tensors are
`[B, T]` or packed `[T]` with `cu_seqlens`, with the same result.
"""

from trainer.algorithms.advantage.gae import gae, length_adaptive_lambda, value_loss
from trainer.algorithms.advantage.gigpo import gigpo, state_advantages
from trainer.algorithms.advantage.group_relative import (
    dr_grpo,
    grpo,
    lite_ppo,
    max_rl,
    reinforce,
    rloo,
)
from trainer.algorithms.advantage.rejection import best_of_group, rejection_sampling
from trainer.algorithms.advantage.returns import (
    discounted_returns,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    terminal_rewards,
    turn_returns,
)
from trainer.algorithms.advantage.running_baseline import RunningBaseline
from trainer.algorithms.advantage.shaping import dynamic_sampling, shaped_rewards, soft_overlong
from trainer.algorithms.advantage.whitening import whiten
from trainer.algorithms.aggregation import (
    drgrpo,
    prompt_mean,
    seq_mean_token_mean,
    seq_mean_token_sum,
    token_mean,
    traj_mean_token_mean,
)
from trainer.algorithms.corrections import (
    geo_mask,
    icepop,
    opsm,
    seq_mis,
    seq_tis,
    tis,
)
from trainer.algorithms.diagnostics import clipped_high, clipped_low, effective_sample_size
from trainer.algorithms.entropy import entropy_bonus
from trainer.algorithms.kl import (
    k1,
    k2,
    k3,
    k3_off_policy,
    k3_straight_through,
    penalized_rewards,
)
from trainer.algorithms.loss.cispo import cispo
from trainer.algorithms.loss.dppo import dppo_tv
from trainer.algorithms.loss.gspo import gspo, gspo_token
from trainer.algorithms.loss.m2po import m2po, m2po_mask
from trainer.algorithms.loss.ppo import decoupled_ppo, dual_clip, ppo_clip, score_function
from trainer.algorithms.loss.sapo import sapo
from trainer.algorithms.proximal import log_linear_proximal
from trainer.algorithms.ratio import log_ratio, ratio

__all__ = [
    "RunningBaseline",
    "best_of_group",
    "cispo",
    "clipped_high",
    "clipped_low",
    "decoupled_ppo",
    "discounted_returns",
    "dppo_tv",
    "dr_grpo",
    "drgrpo",
    "dual_clip",
    "dynamic_sampling",
    "effective_sample_size",
    "entropy_bonus",
    "gae",
    "geo_mask",
    "gigpo",
    "grpo",
    "gspo",
    "gspo_token",
    "icepop",
    "k1",
    "k2",
    "k3",
    "k3_off_policy",
    "k3_straight_through",
    "length_adaptive_lambda",
    "lite_ppo",
    "log_linear_proximal",
    "log_ratio",
    "m2po",
    "m2po_mask",
    "max_rl",
    "opsm",
    "penalized_rewards",
    "ppo_clip",
    "prompt_mean",
    "ratio",
    "reinforce",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "rejection_sampling",
    "rloo",
    "sapo",
    "score_function",
    "seq_mean_token_mean",
    "seq_mean_token_sum",
    "seq_mis",
    "seq_tis",
    "shaped_rewards",
    "soft_overlong",
    "state_advantages",
    "terminal_rewards",
    "tis",
    "token_mean",
    "traj_mean_token_mean",
    "turn_returns",
    "value_loss",
    "whiten",
]
