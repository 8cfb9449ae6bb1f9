"""Batches for the learner's tests."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.learner.microbatch import Microbatch, TrainBatch


def random_sequences(lengths: Sequence[int], *, vocabulary: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocabulary, (n,), generator=generator) for n in lengths]


def microbatch(
    sequences: Sequence[Tensor], *, denominator: float, parents: Sequence[int] | None = None
) -> Microbatch:
    """All tokens that have one before them train, with advantages that depend on the token only."""
    tokens = torch.cat(list(sequences))
    starts = torch.tensor([0, *(len(s) for s in sequences)]).cumsum(0)
    mask = torch.ones(len(tokens), dtype=torch.bool)
    roots = torch.tensor(parents or [-1] * len(sequences))
    mask[starts[:-1]] = roots >= 0
    zeros = torch.zeros(len(tokens))
    return Microbatch(
        tokens=tokens,
        cu_seqlens=starts.int(),
        action_mask=mask,
        advantages=torch.sin(tokens.float()),
        behavior_logprobs=zeros,
        proximal_logprobs=zeros,
        weights=mask.float() / denominator,
        parents=roots if parents else None,
    )


def batch(*packs: Sequence[Tensor]) -> TrainBatch:
    """One microbatch per pack, weighted so that the loss is a mean over the batch's action tokens."""
    actions = sum(len(sequence) - 1 for pack in packs for sequence in pack)
    return TrainBatch(tuple(microbatch(pack, denominator=actions) for pack in packs))


def score_function(
    current: Tensor, entropies: Tensor, part: Microbatch
) -> tuple[Tensor, dict[str, Tensor]]:
    """-A logp, a plain loss whose gradient is easy to write down elsewhere."""
    loss = -(part.weights * part.advantages * current).sum()
    return loss, {"tokens": part.action_mask.sum(), "entropy": entropies.sum()}


def squared_error(values: Tensor, part: Microbatch) -> tuple[Tensor, dict[str, Tensor]]:
    """The distance from values that depend on the token only."""
    loss = part.weights * (values - torch.cos(part.tokens.float())) ** 2
    return loss.sum(), {"tokens": part.action_mask.sum(), "values": values.sum()}
