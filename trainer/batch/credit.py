"""Credit: from the rewards of a batch to the advantage of every sampled token.

Statistics are over episodes, over visits to a state or over the tokens of the WHOLE batch, never over a microbatch. A token that
several leaves share trains once, with the mean of its advantages along each of them.
"""

from functools import partial

import torch
from torch import Tensor

from trainer.algorithms import (
    RunningBaseline,
    discounted_returns,
    length_adaptive_lambda,
    turn_returns,
    whiten,
)
from trainer.algorithms.entry import call
from trainer.algorithms.rows import segment_sum
from trainer.batch.credit_inputs import CreditInputs
from trainer.composition.composition import Composition


def credit(
    inputs: CreditInputs,
    parts: Composition,
    baseline: RunningBaseline,
    *,
    penalties: Tensor | None = None,
) -> tuple[Tensor, RunningBaseline]:
    """Advantages of all tokens, float64, and the baseline after them; `penalties` `[tokens]` are subtracted from the rewards.

    Where a critic is needed they are 0: see `critic_credit`.
    """
    token_rewards = _penalties(inputs, penalties)
    if parts.needs_critic:
        return token_rewards.zero_(), baseline
    turns = parts.turn_entry
    advantages = torch.zeros(len(inputs.outputs), dtype=torch.float64)
    if turns.takes_advantage:
        advantages, baseline = _episode_credit(inputs, token_rewards, parts, baseline)
    if turns.step is not None:
        advantages = advantages + _turn_credit(inputs, token_rewards, parts)
    return _finished(advantages, inputs, parts), baseline


def critic_credit(
    inputs: CreditInputs,
    parts: Composition,
    values: Tensor,
    *,
    values_after: Tensor | None = None,
    penalties: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(advantages, returns) of all tokens, float64: along every path, over what was sampled alone.

    The last token of an output earns its reward, and the last token of a path the rewards that no output has. The value after that is 0,
    or that of `values_after` if a limit cut the path. Rows that are left out are not measured, so their paths do not count in the mean of
    tokens that they share.
    """
    along, lengths, count = inputs.paths, inputs.path_bounds.diff(), len(inputs.outputs)
    bootstrap = None
    if values_after is not None:
        bootstrap = torch.where(inputs.path_cuts, values_after[along[inputs.path_ends]], 0.0)
    lam: float | Tensor = parts.lambda_policy
    if parts.lambda_alpha > 0:
        lam = length_adaptive_lambda(lengths, alpha=parts.lambda_alpha)
    from_values = parts.advantage_entry.from_values
    assert from_values is not None
    estimate = partial(
        from_values,
        _earned_along(inputs, penalties),
        values[along],
        action_mask=torch.ones(len(along), dtype=torch.bool),
        gamma=parts.discount,
        bootstrap=bootstrap,
        cu_seqlens=inputs.path_bounds,
    )
    advantages, _ = estimate(lam=lam)
    _, returns = estimate(lam=parts.lambda_critic)
    is_measured = torch.repeat_interleave(inputs.trains[along[inputs.path_ends]], lengths)
    settled = _finished(_mean_by(along[is_measured], advantages[is_measured], count), inputs, parts)
    return settled, _mean_by(along[is_measured], returns[is_measured], count)


def _earned_along(inputs: CreditInputs, penalties: Tensor | None) -> Tensor:
    """The reward of each entry of `paths`, on the token that earned it."""
    along = inputs.paths
    rewards = _penalties(inputs, penalties)[along]
    is_last = _ends_of_outputs(inputs)
    rewards[is_last] += inputs.output_rewards[inputs.outputs[along[is_last]]]
    rewards[inputs.path_ends] += inputs.other_rewards[inputs.path_episodes]
    return rewards


def _penalties(inputs: CreditInputs, penalties: Tensor | None) -> Tensor:
    """Rewards of single tokens."""
    nothing = torch.zeros(len(inputs.outputs), dtype=torch.float64)
    return nothing if penalties is None else nothing - penalties


def _finished(advantages: Tensor, inputs: CreditInputs, parts: Composition) -> Tensor:
    """Without those of rows that are left out, and whitened if that is chosen."""
    advantages = torch.where(inputs.trains, advantages, 0.0)
    return whiten(advantages, inputs.trains) if parts.whitening == "tokens" else advantages


def group_advantages(
    rewards: Tensor, groups: Tensor, *, parts: Composition, baseline: RunningBaseline
) -> tuple[Tensor, RunningBaseline]:
    """Within each group; a group of one against the running baseline, which is updated with it."""
    sizes = torch.bincount(groups)[groups]
    is_single = sizes == 1
    advantages = _estimated(rewards, groups, parts)
    advantages[is_single] = parts.advantage_entry.single(baseline, rewards[is_single])
    return advantages, baseline.after(rewards[is_single])


def _estimated(rewards: Tensor, groups: Tensor, parts: Composition) -> Tensor:
    entry = parts.advantage_entry
    return call(entry.formula, {"rewards": rewards, "groups": groups} | parts.own(entry))


def _episode_credit(
    inputs: CreditInputs, token_rewards: Tensor, parts: Composition, baseline: RunningBaseline
) -> tuple[Tensor, RunningBaseline]:
    """One advantage per episode; for an advantage that is a return, the return of each token."""
    if parts.advantage_entry.is_return:
        return _token_returns(inputs, token_rewards, parts.discount), baseline
    totals = inputs.rewards + segment_sum(token_rewards, inputs.episodes, len(inputs.rewards))
    if not parts.is_group_relative:
        return _estimated(totals, inputs.groups, parts)[inputs.episodes], baseline
    advantages, baseline = group_advantages(totals, inputs.groups, parts=parts, baseline=baseline)
    return advantages[inputs.episodes], baseline


def _turn_credit(inputs: CreditInputs, token_rewards: Tensor, parts: Composition) -> Tensor:
    """The own credit of each output, from the returns of turns."""
    entry = parts.turn_entry
    assert entry.step is not None
    returns = _output_returns(inputs, token_rewards, parts.turn_discount)
    groups = torch.zeros(len(returns), dtype=torch.int64)
    groups[inputs.outputs] = inputs.groups[inputs.episodes]
    values = {"returns": returns, "groups": groups, "states": inputs.states}
    return call(entry.step, values | parts.own(entry))[inputs.outputs]


def _token_returns(inputs: CreditInputs, token_rewards: Tensor, discount: float) -> Tensor:
    """The return of each token: the reward of the episode at the end of every path, and rewards of single tokens."""
    if discount == 1 and not token_rewards.any():
        return inputs.rewards[inputs.episodes]
    along = token_rewards[inputs.paths]
    along[inputs.path_ends] += inputs.rewards[inputs.path_episodes]
    returns = discounted_returns(
        along,
        torch.ones(len(along), dtype=torch.bool),
        gamma=discount,
        cu_seqlens=inputs.path_bounds,
    )
    return _mean_by(inputs.paths, returns, len(inputs.outputs))


def _output_returns(inputs: CreditInputs, token_rewards: Tensor, discount: float) -> Tensor:
    """The return of each output: its rewards and those of later turns. The last output of a path earns rewards that no turn has."""
    num_outputs = len(inputs.output_rewards)
    earned = inputs.output_rewards + segment_sum(token_rewards, inputs.outputs, num_outputs)
    along, path_ids = inputs.outputs[inputs.paths], inputs.path_ids
    is_last = _ends_of_outputs(inputs)
    steps = earned[along]
    steps[inputs.path_ends] += inputs.other_rewards[inputs.path_episodes]
    returns = turn_returns(steps[is_last], path_ids[is_last], gamma=discount)
    return _mean_by(along[is_last], returns, num_outputs)


def _ends_of_outputs(inputs: CreditInputs) -> Tensor:
    """bool, of each entry of `paths`: whether it is the last of its output on its path."""
    is_last = torch.ones(len(inputs.paths), dtype=torch.bool)
    is_last[:-1] = (inputs.outputs[inputs.paths].diff() != 0) | (inputs.path_ids.diff() != 0)
    return is_last


def _mean_by(index: Tensor, values: Tensor, size: int) -> Tensor:
    return segment_sum(values, index, size) / torch.bincount(index, minlength=size).clamp(min=1)
