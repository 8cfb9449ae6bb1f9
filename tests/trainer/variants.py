"""The choices that no preset makes, each from its paper as in `papers.py`, on top of an algorithm."""

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.trainer.papers import (
    PPO,
    Game,
    Logprobs,
    Paper,
    TokenLoss,
    Values,
    by_turn,
    clip,
    episodes,
    estimated,
    grpo,
    lite_ppo,
    penalties,
    score,
    summed,
    token_mean,
    whitened,
)


def weighted(
    of: TokenLoss, weight: Callable[[Game], Values], start: str = "proximal"
) -> Callable[[Game, Values, Values, Logprobs], Tensor]:
    """Token losses times an importance weight that is a number."""

    def loss(game: Game, advantages: Values, weights: Values, current: Logprobs) -> Tensor:
        w, begin = weight(game), getattr(game, start)
        terms = [weights[t] * w[t] * of(advantages[t], current[t], begin[t]) for t in game.tokens]
        return torch.stack(terms).sum()

    return loss


def row_products(game: Game) -> Values:
    """The product of a row's proximal over behavior, on each of its tokens."""
    return {
        token: math.exp(sum(game.proximal[t] - game.behavior[t] for t in row))
        for row in game.rows
        for token in row
    }


def truncated_rows(game: Game) -> Values:
    return {t: min(s, 2.0) for t, s in row_products(game).items()}


def masked_rows(game: Game) -> Values:
    return {t: s if s <= 2.0 else 0.0 for t, s in row_products(game).items()}


def geometric(game: Game) -> Values:
    """The token's own weight where the geometric mean of its row is within 0.9 and 1.1."""
    result = {}
    for row in game.rows:
        logs = [game.proximal[t] - game.behavior[t] for t in row]
        inside = 0.9 <= math.exp(statistics.fmean(logs)) <= 1.1
        result |= {t: math.exp(x) if inside else 0.0 for t, x in zip(row, logs, strict=True)}
    return result


def log_linear(game: Game, advantages: Values, weights: Values, current: Logprobs) -> Tensor:
    """A-3PO three versions later, truncated at 2: old_logp lies two thirds of the way to logp."""
    losses = []
    for t in game.tokens:
        old = game.behavior[t] + 2 / 3 * (current[t].item() - game.behavior[t])
        w = min(math.exp(old - game.behavior[t]), 2.0)
        losses.append(weights[t] * w * clip(0.2, 0.28)(advantages[t], current[t], old))
    return torch.stack(losses).sum()


def opsm(game: Game, advantages: Values, weights: Values, current: Logprobs) -> Tensor:
    """PPO without the rows of negative advantage that drifted by more than 0.05."""
    losses = []
    for row in game.rows:
        drift = statistics.fmean(game.behavior[t] - current[t].item() for t in row)
        if advantages[row[0]] >= 0 or drift <= 0.05:
            losses += [
                weights[t] * clip(0.2, 0.2)(advantages[t], current[t], game.behavior[t])
                for t in row
            ]
    return torch.stack(losses).sum()


def dual_clip(advantage: float, current: Tensor, start: float) -> Tensor:
    loss = clip(0.2, 0.2)(advantage, current, start)
    return torch.minimum(loss, torch.tensor(-1.3 * advantage)) if advantage < 0 else loss


def group_mean(game: Game) -> Values:
    """1 / (groups * tokens of the group)."""
    sizes: dict[int, int] = {}
    for play in game.plays:
        sizes[play.group] = sizes.get(play.group, 0) + len(play.tokens)
    return {t: 1 / len(sizes) / sizes[play.group] for play in game.plays for t in play.tokens}


def episode_mean(game: Game) -> Values:
    """1 / (episodes * tokens of the episode)."""
    return {t: 1 / len(game.plays) / len(play.tokens) for play in game.plays for t in play.tokens}


def k3_off_policy(game: Game, weights: Values, current: Logprobs, beta: float) -> Tensor:
    terms = []
    for t in game.tokens:
        x = current[t] - game.reference[t]
        rho = torch.exp(current[t] - game.behavior[t])
        terms.append(weights[t] * rho * (torch.exp(-x) - 1 + x))
    return beta * torch.stack(terms).sum()


DECOUPLED = clip(0.2, 0.28)
VARIANTS: dict[str, tuple[str, dict[str, Any], Paper]] = {
    # what is compared: the algorithm it starts from, what is set, the same from the papers
    "seq_tis": (
        "decoupled",
        {"correction": "seq_tis", "correction_high": 2.0},
        Paper(episodes(grpo), token_mean, weighted(DECOUPLED, truncated_rows)),
    ),
    "seq_mis": (
        "decoupled",
        {"correction": "seq_mis", "correction_high": 2.0},
        Paper(episodes(grpo), token_mean, weighted(DECOUPLED, masked_rows)),
    ),
    "geo_mask": (
        "decoupled",
        {"correction": "geo_mask", "correction_low": 0.9, "correction_high": 1.1},
        Paper(episodes(grpo), token_mean, weighted(DECOUPLED, geometric)),
    ),
    "log_linear": (
        "decoupled",
        {"proximal": "log_linear", "correction": "tis"},
        Paper(episodes(grpo), token_mean, log_linear),
    ),
    "opsm": ("lite_ppo", {"opsm_delta": 0.05}, Paper(episodes(lite_ppo), token_mean, opsm)),
    "dual_clip": (
        "lite_ppo",
        {"dual_clip": 1.3},
        Paper(episodes(lite_ppo), token_mean, summed(dual_clip)),
    ),
    "prompt_mean": (
        "lite_ppo",
        {"aggregation": "prompt_mean"},
        Paper(episodes(lite_ppo), group_mean, PPO),
    ),
    "traj_mean_token_mean": (
        "lite_ppo",
        {"aggregation": "traj_mean_token_mean"},
        Paper(episodes(lite_ppo), episode_mean, PPO),
    ),
    "k3_off_policy": (
        "lite_ppo",
        {"kl_in_loss": 0.1, "kl_estimator": "k3_off_policy"},
        Paper(episodes(lite_ppo), token_mean, PPO, k3_off_policy, 0.1),
    ),
    "best_of_group": (
        "rft",
        {"advantage": "best_of_group"},
        Paper(episodes(lambda r, peers, _: float(r == max(peers))), token_mean, summed(score)),
    ),
    "turn_discount": (
        "reinforce_plus_plus",
        {"kl_in_reward": 0.0, "turn_credit": "turn_discount", "turn_discount": 0.5},
        Paper(lambda g: whitened(by_turn(g)), token_mean, PPO),
    ),
    "gae_lambda": (
        "ppo",
        {"lambda_policy": 0.8, "discount": 0.95, "kl_in_reward": 0.0},
        Paper(
            lambda g: whitened(
                estimated(g, penalties(g, 0.0), discount=0.95, of_length=lambda _: 0.8)
            ),
            token_mean,
            PPO,
        ),
    ),
    "gae_length_adaptive": (
        "ppo",
        {"lambda_alpha": 0.5, "whitening": "none"},
        Paper(
            lambda g: estimated(g, penalties(g, 0.05), of_length=lambda n: max(0, 1 - 2 / n)),
            token_mean,
            PPO,
        ),
    ),
}
