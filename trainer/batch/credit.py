"""Credit: from the rewards of a batch to the advantage of every sampled token.

Statistics are over episodes, over visits to a state or over the tokens of the WHOLE batch, never over a microbatch. A token that
several leaves share trains once, with the mean of what it would get along each of them.
"""

from functools import partial

import torch
from torch import Tensor

from trainer.algorithms import (
    RunningBaseline,
    discounted_returns,
    gae,
    length_adaptive_lambda,
    turn_returns,
    whiten,
)
from trainer.algorithms.entry import call
from trainer.algorithms.rows import segment_sum
from trainer.batch.credit_inputs import Played
from trainer.composition.composition import Composition


def credit(
    played: Played,
    parts: Composition,
    baseline: RunningBaseline,
    *,
    penalties: Tensor | None = None,
) -> tuple[Tensor, RunningBaseline]:
    """Advantages of all tokens, float64, and the baseline after them; `penalties` `[tokens]` are what the KL takes from each reward.

    Where a critic is needed they are 0: see `critic_credit`.
    """
    token_rewards = _penalties(played, penalties)
    if parts.needs_critic:
        return token_rewards.zero_(), baseline
    turns = parts.turn_entry
    advantages = torch.zeros(len(played.outputs), dtype=torch.float64)
    if turns.takes_advantage:
        advantages, baseline = _episode_credit(played, token_rewards, parts, baseline)
    if turns.step is not None:
        advantages = advantages + _turn_credit(played, token_rewards, parts)
    return _settled(advantages, played, parts), baseline


def critic_credit(
    played: Played,
    parts: Composition,
    values: Tensor,
    *,
    values_behind: Tensor | None = None,
    penalties: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(advantages, returns) of all tokens, float64: GAE along every way, over what was sampled alone.

    A reward comes with the last token of the output it was given to, and what was given to none with the last of the way. Behind that
    comes nothing, or what `values_behind` says there if a limit cut the way. Nobody asks the critic along rows that are left out: their
    ways have no say in what they share.
    """
    along, lengths, count = played.ways, played.way_bounds.diff(), len(played.outputs)
    bootstrap = None
    if values_behind is not None:
        bootstrap = torch.where(played.way_cuts, values_behind[along[played.way_ends]], 0.0)
    lam: float | Tensor = parts.lambda_policy
    if parts.lambda_alpha > 0:
        lam = length_adaptive_lambda(lengths, alpha=parts.lambda_alpha)
    estimate = partial(
        gae,
        _earned_along(played, penalties),
        values[along],
        action_mask=torch.ones(len(along), dtype=torch.bool),
        gamma=parts.discount,
        bootstrap=bootstrap,
        cu_seqlens=played.way_bounds,
    )
    advantages, _ = estimate(lam=lam)
    _, returns = estimate(lam=parts.lambda_critic)
    is_asked = torch.repeat_interleave(played.trains[along[played.way_ends]], lengths)
    settled = _settled(_mean_by(along[is_asked], advantages[is_asked], count), played, parts)
    return settled, _mean_by(along[is_asked], returns[is_asked], count)


def _earned_along(played: Played, penalties: Tensor | None) -> Tensor:
    """The reward of each entry of `ways`, where it was earned."""
    along = played.ways
    rewards = _penalties(played, penalties)[along]
    is_last = _ends_of_outputs(played)
    rewards[is_last] += played.output_rewards[played.outputs[along[is_last]]]
    rewards[played.way_ends] += played.other_rewards[played.way_episodes]
    return rewards


def _penalties(played: Played, penalties: Tensor | None) -> Tensor:
    """What every token is rewarded with for itself."""
    nothing = torch.zeros(len(played.outputs), dtype=torch.float64)
    return nothing if penalties is None else nothing - penalties


def _settled(advantages: Tensor, played: Played, parts: Composition) -> Tensor:
    """Without those of rows that are left out, and whitened if so chosen."""
    advantages = torch.where(played.trains, advantages, 0.0)
    return whiten(advantages, played.trains) if parts.whitening == "tokens" else advantages


def group_advantages(
    rewards: Tensor, groups: Tensor, *, parts: Composition, baseline: RunningBaseline
) -> tuple[Tensor, RunningBaseline]:
    """Within each group; a group of one against the running baseline, which learns from it."""
    sizes = torch.bincount(groups)[groups]
    is_single = sizes == 1
    advantages = _estimated(rewards, groups, parts)
    advantages[is_single] = parts.advantage_entry.single(baseline, rewards[is_single])
    return advantages, baseline.after(rewards[is_single])


def _estimated(rewards: Tensor, groups: Tensor, parts: Composition) -> Tensor:
    entry = parts.advantage_entry
    return call(entry.formula, {"rewards": rewards, "groups": groups} | parts.own(entry))


def _episode_credit(
    played: Played, token_rewards: Tensor, parts: Composition, baseline: RunningBaseline
) -> tuple[Tensor, RunningBaseline]:
    """One advantage per episode; for an advantage that is a return, what is still to come after each token."""
    if parts.advantage_entry.is_return:
        return _token_returns(played, token_rewards, parts.discount), baseline
    totals = played.rewards + segment_sum(token_rewards, played.episodes, len(played.rewards))
    if not parts.is_group_relative:
        return _estimated(totals, played.groups, parts)[played.episodes], baseline
    advantages, baseline = group_advantages(totals, played.groups, parts=parts, baseline=baseline)
    return advantages[played.episodes], baseline


def _turn_credit(played: Played, token_rewards: Tensor, parts: Composition) -> Tensor:
    """What each output gets for itself, from what it and the later turns earn, discounted per turn."""
    entry = parts.turn_entry
    assert entry.step is not None
    returns = _output_returns(played, token_rewards, parts.turn_discount)
    groups = torch.zeros(len(returns), dtype=torch.int64)
    groups[played.outputs] = played.groups[played.episodes]
    inputs = {"returns": returns, "groups": groups, "states": played.states}
    return call(entry.step, inputs | parts.own(entry))[played.outputs]


def _token_returns(played: Played, token_rewards: Tensor, discount: float) -> Tensor:
    """What is to come after each token: the episode's reward at the end of every way, and the tokens' own."""
    if discount == 1 and not token_rewards.any():
        return played.rewards[played.episodes]
    along = token_rewards[played.ways]
    along[played.way_ends] += played.rewards[played.way_episodes]
    returns = discounted_returns(
        along,
        torch.ones(len(along), dtype=torch.bool),
        gamma=discount,
        cu_seqlens=played.way_bounds,
    )
    return _mean_by(played.ways, returns, len(played.outputs))


def _output_returns(played: Played, token_rewards: Tensor, discount: float) -> Tensor:
    """What each output and the turns behind it earn; what was not given to a turn comes with a way's last one."""
    num_outputs = len(played.output_rewards)
    earned = played.output_rewards + segment_sum(token_rewards, played.outputs, num_outputs)
    along, way_ids = played.outputs[played.ways], played.way_ids
    is_last = _ends_of_outputs(played)
    steps = earned[along]
    steps[played.way_ends] += played.other_rewards[played.way_episodes]
    returns = turn_returns(steps[is_last], way_ids[is_last], gamma=discount)
    return _mean_by(along[is_last], returns, num_outputs)


def _ends_of_outputs(played: Played) -> Tensor:
    """bool, of each entry of `ways`: whether it is the last of its output on its way."""
    is_last = torch.ones(len(played.ways), dtype=torch.bool)
    is_last[:-1] = (played.outputs[played.ways].diff() != 0) | (played.way_ids.diff() != 0)
    return is_last


def _mean_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    return segment_sum(values, index, size) / torch.bincount(index, minlength=size).clamp(min=1)
