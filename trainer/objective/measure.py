"""Measure a batch before its first step: logprobs of the policy and of the reference, values, and the advantages that follow.

A mask over all tokens of a step is made here, where all microbatches of all ranks are known.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainer.algorithms import k1
from trainer.algorithms.entry import call
from trainer.algorithms.loss.record import STEP_COLUMNS
from trainer.batch.batch import Batch
from trainer.batch.credit import credit, critic_credit
from trainer.composition.composition import Composition
from trainer.learner.learner import FrozenPolicy, Learner
from trainer.learner.microbatch import TrainBatch


def measure(
    batch: Batch, learner: Learner, parts: Composition, *, reference: FrozenPolicy | None
) -> Batch:
    """The batch with everything its loss reads; every rank calls it and gets the same batch."""
    train = batch.train
    if parts.needs_proximal_pass:
        train = train.with_proximal_logprobs(learner.logprobs(train))
    if parts.needs_reference:
        assert reference is not None, "a KL term without a reference policy"
        train = train.replace("reference_logprobs", reference.logprobs(train))
    batch = replace(batch, train=train)
    penalties = kl_penalties(train, parts) if parts.kl_in_reward > 0 else None
    if parts.needs_critic:
        after = values_after(batch, learner) if parts.at_limit == "bootstrap" else None
        values = learner.values(train)
        return with_values(batch, values, parts, values_after=after, penalties=penalties)
    return batch if penalties is None else with_penalties(batch, penalties, parts)


def with_penalties(batch: Batch, penalties: Sequence[Tensor], parts: Composition) -> Batch:
    """The batch with advantages from rewards less these penalties, `[T]` per microbatch."""
    advantages, baseline = credit(
        batch.credit_inputs, parts, batch.prior, penalties=batch.of_tokens(penalties)
    )
    return batch.credited(advantages, baseline)


def with_values(
    batch: Batch,
    values: Sequence[Tensor],
    parts: Composition,
    *,
    values_after: Tensor | None = None,
    penalties: Sequence[Tensor] | None = None,
) -> Batch:
    """The batch with values of the critic, `[T]` per microbatch, and the advantages and returns that follow from them."""
    advantages, returns = critic_credit(
        batch.credit_inputs,
        parts,
        batch.of_tokens(values),
        values_after=values_after,
        penalties=None if penalties is None else batch.of_tokens(penalties),
    )
    batch = batch.credited(advantages, batch.baseline)
    train = batch.train.replace("values", values)
    train = train.replace("returns", batch.of_microbatches(returns))
    return replace(batch, train=train, awaits_values=False)


def values_after(batch: Batch, learner: Learner) -> Tensor | None:
    """The value after the last token of every path that a limit cut, `[tokens]`; None if there is none."""
    inputs = batch.credit_inputs
    cut = inputs.paths[inputs.path_ends[inputs.path_cuts]]
    if not len(cut):
        return None
    is_cut = torch.zeros(len(inputs.outputs)).index_fill(0, cut, 1.0)
    pairs = zip(batch.train.microbatches, batch.of_microbatches(is_cut), strict=True)
    after_cuts = TrainBatch(tuple(part.after(cuts.bool()) for part, cuts in pairs))
    return batch.of_tokens(learner.values(after_cuts))


def masked(train: TrainBatch, moved: Learner | None, parts: Composition) -> TrainBatch:
    """The batch of one step with the tokens that the loss keeps, if it has a mask over the whole step.

    The mask is made from the policy that this step moves: `moved` is the learner if it has moved since the batch was measured.
    """
    if parts.loss_entry.step_mask is None:
        return train
    if moved is None:
        current = [part.proximal_logprobs for part in train.microbatches]
    else:
        current = moved.logprobs(train)
    return train.replace("kept", step_mask(train, current, parts))


def kl_penalties(train: TrainBatch, parts: Composition) -> list[Tensor]:
    """Beta * k1 of every sampled token, from the policy at the start of the batch or, if that was not measured, the one that sampled."""
    penalties = []
    for part in train.microbatches:
        assert part.reference_logprobs is not None
        policy = part.proximal_logprobs if parts.needs_proximal_pass else part.behavior_logprobs
        penalties.append(parts.kl_in_reward * k1(policy, part.reference_logprobs))
    return penalties


def step_mask(
    train: TrainBatch, current_logprobs: Sequence[Tensor], parts: Composition
) -> list[Tensor]:
    """The mask of each microbatch, computed over all their tokens at once."""
    entry = parts.loss_entry
    assert entry.step_mask is not None
    columns = {
        name: torch.cat([getattr(part, name) for part in train.microbatches])
        for name in STEP_COLUMNS
    }
    inputs = columns | {"current_logprobs": torch.cat(list(current_logprobs))}
    kept = call(entry.step_mask, inputs | parts.own(entry))
    return list(torch.split(kept, [part.num_tokens for part in train.microbatches]))
