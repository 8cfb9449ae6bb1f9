"""Every preset once more, token by token in float64, from the papers: what the trainer's compositions are compared with.

Nothing of `trainer/` is used here. Tokens are numbers of their own, so a token is known by its id wherever it turns up.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Values = dict[int, float]  # by token
Logprobs = dict[int, Tensor]  # the same, with gradient


@dataclass(frozen=True)
class Play:
    """One episode: its outputs by name, the paths through them, and the rows they train in."""

    group: int
    reward: float  # of the episode as a whole
    outputs: dict[str, list[int]]
    paths: list[list[str]]
    rows: list[list[str]]
    earned: dict[str, float] = field(default_factory=dict)  # by output, besides `reward`
    states: dict[str, str] = field(default_factory=dict)  # what each output was shown

    @property
    def total(self) -> float:
        return self.reward + sum(self.earned.values())

    @property
    def tokens(self) -> list[int]:
        return [token for output in self.outputs.values() for token in output]


@dataclass(frozen=True)
class Game:
    """A batch, and the logprobs of each of its tokens under the policies that do not move."""

    plays: list[Play]
    behavior: Values
    proximal: Values
    reference: Values
    values: Values = field(default_factory=dict)  # of the critic, if there is one

    @property
    def rows(self) -> list[list[int]]:
        return [
            [token for name in row for token in play.outputs[name]]
            for play in self.plays
            for row in play.rows
        ]

    @property
    def tokens(self) -> list[int]:
        return [token for play in self.plays for token in play.tokens]


# Advantages, by token.


def by_group(rewards: list[float], plays: list[Play], of: Callable[..., float]) -> list[float]:
    """`of(reward, those of the group, all)`, and 0 in a group whose rewards agree."""
    result = []
    for play, reward in zip(plays, rewards, strict=True):
        peers = [r for r, p in zip(rewards, plays, strict=True) if p.group == play.group]
        result.append(of(reward, peers, rewards) if max(peers) > min(peers) else 0.0)
    return result


def grpo(reward: float, peers: list[float], _: list[float]) -> float:
    return (reward - statistics.fmean(peers)) / (statistics.stdev(peers) + 1e-6)


def dr_grpo(reward: float, peers: list[float], _: list[float]) -> float:
    return reward - statistics.fmean(peers)


def rloo(reward: float, peers: list[float], _: list[float]) -> float:
    return reward - (sum(peers) - reward) / (len(peers) - 1)


def lite_ppo(reward: float, peers: list[float], everybody: list[float]) -> float:
    return (reward - statistics.fmean(peers)) / (statistics.stdev(everybody) + 1e-6)


def max_rl(reward: float, peers: list[float], _: list[float]) -> float:
    return (max(reward, 0) - statistics.fmean(max(r, 0) for r in peers)) / (
        statistics.fmean(max(r, 0) for r in peers) + 1e-6
    )


def spread(game: Game, of: Callable[..., float], penalties: Values | None = None) -> Values:
    """One advantage per episode on all its tokens; penalties are taken from its reward."""
    taken = penalties or dict.fromkeys(game.tokens, 0.0)
    rewards = [play.total - sum(taken[token] for token in play.tokens) for play in game.plays]
    advantages = by_group(rewards, game.plays, of)
    return {
        token: advantage
        for play, advantage in zip(game.plays, advantages, strict=True)
        for token in play.tokens
    }


def to_come(game: Game, penalties: Values, discount: float = 1.0) -> Values:
    """The rewards from each token on, a shared token's mean over its paths."""
    found: dict[int, list[float]] = {}
    for play in game.plays:
        for path in play.paths:
            running = play.total / discount
            for token in reversed([token for name in path for token in play.outputs[name]]):
                running = discount * running - penalties[token]
                found.setdefault(token, []).append(running)
    return {token: statistics.fmean(values) for token, values in found.items()}


def estimated(
    game: Game,
    penalties: Values,
    *,
    discount: float = 1.0,
    of_length: Callable[[int], float] = lambda _: 1.0,
    after: Values | None = None,
) -> Values:
    """GAE with the lambda of a path's length: each reward where it was earned, a shared token's mean over its paths.

    `after` has the values after the ends of paths.
    """
    found: dict[int, list[float]] = {}
    for play in game.plays:
        for path in play.paths:
            rewarded = {play.outputs[name][-1]: play.earned.get(name, 0.0) for name in path}
            tokens = [token for name in path for token in play.outputs[name]]
            rewarded[tokens[-1]] += play.reward
            advantage, following = 0.0, after[tokens[-1]] if after else 0.0
            for token in reversed(tokens):
                reward = rewarded.get(token, 0.0) - penalties[token]
                surprise = reward + discount * following - game.values[token]
                advantage = surprise + discount * of_length(len(tokens)) * advantage
                following = game.values[token]
                found.setdefault(token, []).append(advantage)
    return {token: statistics.fmean(values) for token, values in found.items()}


def whitened(values: Values) -> Values:
    mean, variance = statistics.fmean(values.values()), statistics.pvariance(values.values())
    return {token: (value - mean) / (variance + 1e-8) ** 0.5 for token, value in values.items()}


def turn_returns(play: Play, discount: float) -> dict[str, float]:
    """By output: what it and the later ones of its path earn, the episode's own reward at the end."""
    found: dict[str, list[float]] = {}
    for path in play.paths:
        running = play.reward
        for index, name in enumerate(reversed(path)):
            running = play.earned.get(name, 0.0) + (discount if index else 1.0) * running
            found.setdefault(name, []).append(running)
    return {name: statistics.fmean(values) for name, values in found.items()}


def by_turn(game: Game) -> Values:
    return {
        token: value
        for play in game.plays
        for name, value in turn_returns(play, 0.5).items()
        for token in play.outputs[name]
    }


def gigpo(game: Game) -> Values:
    """The episode's advantage plus the return's distance from the mean of the same state in the group."""
    returns = [turn_returns(play, 0.95) for play in game.plays]
    visits: dict[tuple[int, str], list[float]] = {}
    for play, its_returns in zip(game.plays, returns, strict=True):
        for name, value in its_returns.items():
            visits.setdefault((play.group, play.states[name]), []).append(value)
    result = spread(game, grpo)
    for play, its_returns in zip(game.plays, returns, strict=True):
        for name, value in its_returns.items():
            step = value - statistics.fmean(visits[play.group, play.states[name]])
            for token in play.outputs[name]:
                result[token] += step
    return result


def penalties(game: Game, beta: float) -> Values:
    """Beta * k1 of the policy that sampled."""
    return {token: beta * (game.behavior[token] - game.reference[token]) for token in game.tokens}


# Weights, by token.


def token_mean(game: Game) -> Values:
    return dict.fromkeys(game.tokens, 1 / len(game.tokens))


def row_mean(game: Game) -> Values:
    return {token: 1 / len(row) / len(game.rows) for row in game.rows for token in row}


def row_sum(game: Game) -> Values:
    return dict.fromkeys(game.tokens, 1 / len(game.rows))


def constant(game: Game) -> Values:
    return dict.fromkeys(game.tokens, 1 / len(game.rows) / 16384)


# Losses of a token: of its advantage, its logprob now and the one that its ratio starts from.


def score(advantage: float, current: Tensor, _: float) -> Tensor:
    return -advantage * current


def clip(low: float, high: float) -> Callable[[float, Tensor, float], Tensor]:
    def loss(advantage: float, current: Tensor, start: float) -> Tensor:
        ratio = torch.exp(current - start)
        return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - low, 1 + high))

    return loss


def cispo(advantage: float, current: Tensor, start: float) -> Tensor:
    return -torch.exp(current - start).clamp(max=5.0).detach() * advantage * current


def sapo(advantage: float, current: Tensor, start: float) -> Tensor:
    tau = 1.0 if advantage > 0 else 1.05
    return -advantage * 4 / tau * torch.sigmoid(tau * (torch.exp(current - start) - 1))


def dppo_tv(delta: float) -> Callable[[float, Tensor, float], Tensor]:
    def loss(advantage: float, current: Tensor, start: float) -> Tensor:
        moved = math.exp(current.item()) - math.exp(start)
        leaves = (advantage > 0 and moved > delta) or (advantage < 0 and moved < -delta)
        return 0 * current if leaves else -advantage * torch.exp(current - start)

    return loss


TokenLoss = Callable[[float, Tensor, float], Tensor]


def summed(of: TokenLoss) -> Callable[[Game, Values, Values, Logprobs], Tensor]:
    def loss(game: Game, advantages: Values, weights: Values, current: Logprobs) -> Tensor:
        return torch.stack(
            [weights[t] * of(advantages[t], current[t], game.behavior[t]) for t in game.tokens]
        ).sum()

    return loss


def gspo(game: Game, advantages: Values, _: Values, current: Logprobs) -> Tensor:
    """The mean over rows of the clipped geometric mean of a row's ratios."""
    losses = []
    for row in game.rows:
        s = torch.stack([current[t] - game.behavior[t] for t in row]).mean().exp()
        advantage = advantages[row[0]]
        losses.append(torch.maximum(-advantage * s, -advantage * s.clamp(1 - 3e-4, 1 + 4e-4)))
    return torch.stack(losses).mean()


def m2po(game: Game, advantages: Values, weights: Values, current: Logprobs) -> Tensor:
    """No clip, and without the tokens that moved most, until the mean square of the rest is below 0.04."""
    square = {t: (game.proximal[t] - game.behavior[t]) ** 2 for t in game.tokens}
    kept = sorted(game.tokens, key=square.__getitem__)
    while len(kept) > 1 and statistics.fmean(square[t] for t in kept) >= 0.04:
        kept.pop()
    return torch.stack(
        [-weights[t] * advantages[t] * torch.exp(current[t] - game.behavior[t]) for t in kept]
    ).sum()


def decoupled(game: Game, advantages: Values, weights: Values, current: Logprobs) -> Tensor:
    """The clip around the measured policy, weighted by it over the one that sampled; dropped outside [0.5, 5]."""
    losses = []
    for t in game.tokens:
        weight = math.exp(game.proximal[t] - game.behavior[t])
        if 0.5 <= weight <= 5:
            clipped = clip(0.2, 0.28)(advantages[t], current[t], game.proximal[t])
            losses.append(weights[t] * weight * clipped)
    return torch.stack(losses).sum()


def k2(game: Game, weights: Values, current: Logprobs, beta: float) -> Tensor:
    terms = [weights[t] * (current[t] - game.reference[t]) ** 2 / 2 for t in game.tokens]
    return beta * torch.stack(terms).sum()


def k3(game: Game, weights: Values, current: Logprobs, beta: float) -> Tensor:
    terms = []
    for t in game.tokens:
        x = current[t] - game.reference[t]
        terms.append(weights[t] * (torch.exp(-x) - 1 + x))
    return beta * torch.stack(terms).sum()


@dataclass(frozen=True)
class Paper:
    advantages: Callable[[Game], Values]
    weights: Callable[[Game], Values]
    loss: Callable[[Game, Values, Values, Logprobs], Tensor]
    kl: Callable[[Game, Values, Logprobs, float], Tensor] | None = None
    beta: float = 0.0

    def __call__(self, game: Game, current: Logprobs) -> Tensor:
        """The loss of the batch."""
        weights = self.weights(game)
        loss = self.loss(game, self.advantages(game), weights, current)
        return loss if self.kl is None else loss + self.kl(game, weights, current, self.beta)


def episodes(of: Callable[..., float]) -> Callable[[Game], Values]:
    return lambda game: spread(game, of)


def passed(game: Game) -> Values:
    """1 for each token of a rewarded episode."""
    return {token: float(play.total > 0) for play in game.plays for token in play.tokens}


DPPO_DELTA = 4e-4  # a model that is nearly uniform over 441 tokens has probabilities of 2e-3
PPO = summed(clip(0.2, 0.2))
PAPERS = {
    "ppo": Paper(lambda g: whitened(estimated(g, penalties(g, 0.05))), token_mean, PPO),
    "grpo": Paper(episodes(grpo), row_mean, PPO, k3, 0.04),
    "dapo": Paper(episodes(grpo), token_mean, summed(clip(0.2, 0.28))),
    "dr_grpo": Paper(episodes(dr_grpo), constant, PPO),
    "rloo": Paper(lambda g: spread(g, rloo, penalties(g, 0.05)), row_sum, summed(score)),
    "reinforce": Paper(
        lambda g: to_come(g, dict.fromkeys(g.tokens, 0.0)), token_mean, summed(score)
    ),
    "reinforce_plus_plus": Paper(
        lambda g: whitened(to_come(g, penalties(g, 0.01))), token_mean, PPO
    ),
    "reinforce_plus_plus_baseline": Paper(
        lambda g: whitened(spread(g, dr_grpo)), token_mean, PPO, k2, 0.01
    ),
    "lite_ppo": Paper(episodes(lite_ppo), token_mean, PPO),
    "gspo": Paper(episodes(grpo), row_mean, gspo),
    "gspo_token": Paper(episodes(grpo), row_mean, gspo),
    "cispo": Paper(episodes(grpo), token_mean, summed(cispo)),
    "sapo": Paper(episodes(grpo), row_mean, summed(sapo)),
    "dppo_tv": Paper(episodes(grpo), token_mean, summed(dppo_tv(DPPO_DELTA))),
    "m2po": Paper(episodes(grpo), token_mean, m2po),
    "gigpo": Paper(gigpo, row_mean, PPO, k3, 0.01),
    "max_rl": Paper(episodes(max_rl), token_mean, PPO),
    "rft": Paper(passed, token_mean, summed(score)),
    "decoupled": Paper(episodes(grpo), token_mean, decoupled),
}
