"""What the learner consumes: packed microbatches, and the batch of one optimizer step.

Index t of every per-token tensor speaks about token t itself, never about token t+1.
A batch is global: every process holds the same one and the learner takes this process's share.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Microbatch:
    """Sequences packed end to end; sequence i is tokens[cu_seqlens[i] : cu_seqlens[i + 1]].

    The loss of a batch is the sum over its tokens of `weights` times the token's loss, so the
    weights carry the global denominator and a split into microbatches changes nothing.
    """

    tokens: Tensor  # int64 [T]
    cu_seqlens: Tensor  # int32 [S + 1], first 0, last T
    action_mask: Tensor  # bool [T], tokens the policy sampled; only these get a logprob
    advantages: Tensor  # float32 [T]
    behavior_logprobs: Tensor  # float32 [T]
    proximal_logprobs: Tensor  # float32 [T]
    weights: Tensor  # float32 [T], aggregation weights over the whole batch
    temperatures: Tensor | None = (
        None  # float32 [T], the sampling temperature of each token; None is 1
    )
    flags: Tensor | None = None  # int32 [T], OutputFlags of each token; None is none
    staleness: Tensor | None = None  # int32 [T], training version minus the token's own; None is 0
    reference_logprobs: Tensor | None = None  # float32 [T], where a KL is wanted
    kept: Tensor | None = None  # bool [T], what a rule over the whole batch lets train; None is all

    def __post_init__(self) -> None:
        starts, end = self.cu_seqlens[:-1], self.cu_seqlens[-1]
        assert (int(starts[0]), int(end)) == (0, self.num_tokens)
        for field in (
            "action_mask",
            "advantages",
            "behavior_logprobs",
            "proximal_logprobs",
            "weights",
        ):
            assert getattr(self, field).shape == self.tokens.shape, field
        # Nothing comes before a sequence's first token that could have predicted it.
        assert not self.action_mask.index_select(0, starts).any()

    @property
    def num_tokens(self) -> int:
        return self.tokens.numel()

    @property
    def num_sequences(self) -> int:
        return self.cu_seqlens.numel() - 1

    def replace(self, **changes: Tensor) -> Self:
        return dataclasses.replace(self, **changes)

    def blank(self) -> Self:
        """The same tokens with nothing to train on."""
        return self.replace(
            action_mask=torch.zeros_like(self.action_mask), weights=torch.zeros_like(self.weights)
        )

    def to(self, device: torch.device) -> Self:
        """The same microbatch with every tensor on the device."""
        tensors = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        moved = {name: t.to(device) for name, t in tensors.items() if isinstance(t, Tensor)}
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """The microbatches of one optimizer step, over all data-parallel ranks."""

    microbatches: tuple[Microbatch, ...]

    @property
    def num_tokens(self) -> int:
        return sum(microbatch.num_tokens for microbatch in self.microbatches)

    def with_proximal_logprobs(self, logprobs: Sequence[Tensor]) -> "TrainBatch":
        """The batch with what `Learner.logprobs` returned for it filled in."""
        return self.replace("proximal_logprobs", logprobs)

    def replace(self, field: str, tensors: Sequence[Tensor]) -> "TrainBatch":
        """The batch with one field of every microbatch replaced."""
        pairs = zip(self.microbatches, tensors, strict=True)
        return TrainBatch(tuple(m.replace(**{field: tensor}) for m, tensor in pairs))
