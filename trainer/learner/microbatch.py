"""The learner's input: packed microbatches, and the batch of one optimizer step.

Index t of every per-token tensor is about token t itself, never about token t+1.
A batch is global: every process holds the same one and the learner uses this process's share.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from trainer.learner.paths import Path, length, paths


@dataclass(frozen=True, slots=True)
class Microbatch:
    """Sequences packed end to end; sequence i is tokens[cu_seqlens[i] : cu_seqlens[i + 1]].

    A sequence may continue the beginning of an earlier one instead of repeating it, which makes a tree:
    [1 2 3 4] and [1 2 5]  ->  tokens [1 2 3 4 5], cu_seqlens [0 4 5], parents [-1 1].

    The loss of a step is the sum over its tokens of `weights` times the token's loss, so the
    weights contain the global denominator and the split into microbatches changes nothing.
    """

    tokens: Tensor  # int64 [T]
    cu_seqlens: Tensor  # int32 [S + 1], first 0, last T
    action_mask: Tensor  # bool [T], tokens the policy sampled; only these get a logprob
    advantages: Tensor  # float32 [T]
    behavior_logprobs: Tensor  # float32 [T]
    proximal_logprobs: Tensor  # float32 [T]
    weights: Tensor  # float32 [T], their denominators are those of the whole step
    temperatures: Tensor | None = None  # float32 [T], of the sampling; None is 1
    flags: Tensor | None = None  # int32 [T], OutputFlags of each token; None is none
    staleness: Tensor | None = None  # int32 [T], training version minus the token's own; None is 0
    reference_logprobs: Tensor | None = None  # float32 [T], if the loss has a KL term
    values: Tensor | None = None  # float32 [T], a critic's, of the state before each token
    returns: Tensor | None = None  # float32 [T], the critic's targets
    kept: Tensor | None = None  # bool [T], False where a rule over the whole step masks; None: all
    reads_after: bool = False  # outputs come from the state after each action token, not before
    # int64 [S], the token that each sequence continues, -1 for a root; None: all are roots
    parents: Tensor | None = None

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
        assert self.parents is None or (self.parents < starts).all()
        # The first token of a tree has no predecessor that could predict it.
        assert not self.action_mask[self.predecessors < 0].any()

    @property
    def num_tokens(self) -> int:
        return self.tokens.numel()

    @property
    def num_sequences(self) -> int:
        return self.cu_seqlens.numel() - 1

    @property
    def predecessors(self) -> Tensor:
        """int64 [T], the token whose hidden state the outputs of each token are read from; negative if there is none.

        It is the token before, and the token itself with `reads_after`.
        """
        if self.reads_after:
            return torch.arange(self.num_tokens, device=self.tokens.device)
        before = torch.arange(-1, self.num_tokens - 1, device=self.tokens.device)
        starts = self.cu_seqlens[:-1].long()
        if self.parents is None:
            return before.index_fill(0, starts, -1)
        return before.index_copy(0, starts, self.parents)

    @property
    def paths(self) -> list[Path]:
        """The path from the root to the end of each sequence."""
        parents = [-1] * self.num_sequences if self.parents is None else self.parents.tolist()
        return paths(self.cu_seqlens.tolist(), parents)

    def replace(self, **changes: Tensor) -> Self:
        fields: dict[str, Any] = dict(changes)
        return dataclasses.replace(self, **fields)

    def blank(self) -> Self:
        """The same tokens with nothing to train on."""
        return self.replace(
            action_mask=torch.zeros_like(self.action_mask), weights=torch.zeros_like(self.weights)
        )

    def after(self, tokens: Tensor) -> Self:
        """The same sequences, to read the states after these tokens (bool [T]) only."""
        return dataclasses.replace(self, action_mask=tokens, reads_after=True)

    def to(self, device: torch.device) -> Self:
        """The same microbatch with every tensor on the device."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        moved: dict[str, Any] = {
            name: t.to(device) for name, t in fields.items() if isinstance(t, Tensor)
        }
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """The microbatches of one optimizer step, for all data-parallel ranks."""

    microbatches: tuple[Microbatch, ...]

    @property
    def num_tokens(self) -> int:
        return sum(microbatch.num_tokens for microbatch in self.microbatches)

    @property
    def num_row_tokens(self) -> int:
        """What `num_tokens` would be if every sequence repeated the tokens that it continues."""
        return sum(length(path) for microbatch in self.microbatches for path in microbatch.paths)

    def share(self, rank: int, ranks: int) -> list[Microbatch]:
        """Every n-th microbatch, padded with blank ones: collectives need the same number on all ranks."""
        assert self.microbatches, "nothing to train on"
        own = self.microbatches[rank::ranks]
        missing = -(-len(self.microbatches) // ranks) - len(own)
        return [*own, *[self.microbatches[0].blank()] * missing]

    def with_proximal_logprobs(self, logprobs: Sequence[Tensor]) -> "TrainBatch":
        """The batch with the logprobs that `Learner.logprobs` returned for it."""
        return self.replace("proximal_logprobs", logprobs)

    def replace(self, field: str, tensors: Sequence[Tensor]) -> "TrainBatch":
        """The batch with one field of every microbatch replaced."""
        pairs = zip(self.microbatches, tensors, strict=True)
        return TrainBatch(tuple(m.replace(**{field: tensor}) for m, tensor in pairs))
