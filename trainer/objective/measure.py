"""What must be known about a batch before its first step: logprobs of the policy as it is and of the reference, and what follows from them.

A rule over all tokens of a step is applied here, where all microbatches of all ranks are at hand.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainer.algorithms import k1
from trainer.algorithms.entry import call
from trainer.batch.batch import Batch
from trainer.batch.credit import credit, critic_credit
from trainer.composition.composition import Composition
from trainer.learner.learner import FrozenPolicy, Learner
from trainer.learner.microbatch import TrainBatch


def measure(
    batch: Batch, learner: Learner, parts: Composition, *, reference: FrozenPolicy | None
) -> Batch:
    """The batch with everything its loss reads; every rank calls it and gets the same."""
    train = batch.train
    if parts.needs_proximal_pass:
        train = train.with_proximal_logprobs(learner.logprobs(train))
    if parts.needs_reference:
        assert reference is not None, "a KL term without a reference policy"
        train = train.replace("reference_logprobs", reference.logprobs(train))
    batch = replace(batch, train=train)
    penalties = kl_penalties(train, parts) if parts.kl_in_reward > 0 else None
    if parts.needs_critic:
        behind = values_behind(batch, learner) if parts.at_limit == "bootstrap" else None
        values = learner.values(train)
        return valued(batch, values, parts, values_behind=behind, penalties=penalties)
    return batch if penalties is None else penalized(batch, penalties, parts)


def penalized(batch: Batch, penalties: Sequence[Tensor], parts: Composition) -> Batch:
    """The batch with a penalty `[T]` per microbatch taken from the rewards of its tokens."""
    taken = batch.of_tokens(penalties)
    advantages, baseline = credit(batch.played, parts, batch.prior, penalties=taken)
    return batch.credited(advantages, baseline)


def valued(
    batch: Batch,
    values: Sequence[Tensor],
    parts: Composition,
    *,
    values_behind: Tensor | None = None,
    penalties: Sequence[Tensor] | None = None,
) -> Batch:
    """The batch with what a critic says of its microbatches, what follows for the policy, and what the critic should have said."""
    taken = None if penalties is None else batch.of_tokens(penalties)
    said = batch.of_tokens(values)
    advantages, returns = critic_credit(
        batch.played, parts, said, values_behind=values_behind, penalties=taken
    )
    batch = batch.credited(advantages, batch.baseline)
    train = batch.train.replace("values", values)
    train = train.replace("returns", batch.of_microbatches(returns))
    return replace(batch, train=train, awaits_values=False)


def values_behind(batch: Batch, learner: Learner) -> Tensor | None:
    """What the critic expects behind the last token of every way that a limit cut, `[tokens]`; None if there is none."""
    played = batch.played
    cut = played.ways[played.way_ends[played.way_cuts]]
    if not len(cut):
        return None
    is_asked = torch.zeros(len(played.outputs)).index_fill(0, cut, 1.0)
    asking = zip(batch.train.microbatches, batch.of_microbatches(is_asked), strict=True)
    questions = TrainBatch(tuple(part.after(asked.bool()) for part, asked in asking))
    return batch.of_tokens(learner.values(questions))


def masked(train: TrainBatch, moved: Learner | None, parts: Composition) -> TrainBatch:
    """What one step is about to consume, with the tokens that the loss's mask over the whole step keeps; `moved` is the learner if it
    has moved since the batch was measured.

    The mask is made from the policy that the gradient is taken of, over the tokens of this step.
    """
    if parts.loss_entry.step_mask is None:
        return train
    if moved is None:
        current = [part.proximal_logprobs for part in train.microbatches]
    else:
        current = moved.logprobs(train)
    return train.replace("kept", step_mask(train, current, parts))


def kl_penalties(train: TrainBatch, parts: Composition) -> list[Tensor]:
    """What the KL costs, beta * k1 of every sampled token, of the policy at the start of the batch or, unmeasured, the one that sampled."""
    penalties = []
    for part in train.microbatches:
        assert part.reference_logprobs is not None
        policy = part.proximal_logprobs if parts.needs_proximal_pass else part.behavior_logprobs
        penalties.append(parts.kl_in_reward * k1(policy, part.reference_logprobs))
    return penalties


def step_mask(
    train: TrainBatch, current_logprobs: Sequence[Tensor], parts: Composition
) -> list[Tensor]:
    """The mask of each microbatch, judged over all tokens of these at once."""
    entry = parts.loss_entry
    assert entry.step_mask is not None
    inputs = {
        "current_logprobs": _joined(current_logprobs),
        "behavior_logprobs": _joined([part.behavior_logprobs for part in train.microbatches]),
        "advantages": _joined([part.advantages for part in train.microbatches]),
        "action_mask": _joined([part.action_mask for part in train.microbatches]),
    }
    kept = call(entry.step_mask, inputs | parts.own(entry))
    return list(torch.split(kept, [part.num_tokens for part in train.microbatches]))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors))
