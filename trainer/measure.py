"""What must be known about a batch before its step: logprobs of the policy as it is and of the reference, and what follows from them.

A rule over the whole batch is applied here, where all microbatches of all ranks are at hand.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trainer.algorithms import k1, m2po_mask
from trainer.batch import Batch, penalized
from trainer.composition import Composition
from trainer.megatron.frozen import Frozen
from trainer.megatron.learner import Learner
from trainer.megatron.microbatch import TrainBatch


def measure(
    batch: Batch, learner: Learner, parts: Composition, *, reference: Frozen | None
) -> Batch:
    """The batch with everything its loss reads; every rank calls it and gets the same."""
    train = batch.train
    if parts.needs_proximal_pass:
        train = train.with_proximal_logprobs(learner.logprobs(train))
    if parts.needs_reference:
        assert reference is not None, "a KL term without a reference policy"
        train = train.replace("reference_logprobs", learner.logprobs(train, of=reference))
    if parts.policy_loss == "m2po":
        train = train.replace("kept", m2po_kept(train, parts.m2po_threshold))
    batch = replace(batch, train=train)
    if parts.kl_in_reward > 0:
        batch = penalized(batch, kl_penalties(train, parts), parts)
    return batch


def kl_penalties(train: TrainBatch, parts: Composition) -> list[Tensor]:
    """What the KL costs, beta * k1 of every sampled token, of the policy at the start of the batch or, unmeasured, the one that sampled."""
    penalties = []
    for part in train.microbatches:
        assert part.reference_logprobs is not None
        policy = part.proximal_logprobs if parts.needs_proximal_pass else part.behavior_logprobs
        penalties.append(parts.kl_in_reward * k1(policy, part.reference_logprobs))
    return penalties


def m2po_kept(train: TrainBatch, threshold: float) -> list[Tensor]:
    """M2PO's choice among all tokens of the batch; the policy has not moved yet, so its proximal logprobs are its current ones."""
    kept = m2po_mask(
        _joined([part.proximal_logprobs for part in train.microbatches]),
        _joined([part.behavior_logprobs for part in train.microbatches]),
        action_mask=_joined([part.action_mask for part in train.microbatches]),
        threshold=threshold,
    )
    return list(torch.split(kept, [part.num_tokens for part in train.microbatches]))


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors))
