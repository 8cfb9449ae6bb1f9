"""Claimed groups into the batch of one optimizer step.

Advantages are taken per EPISODE and then spread over its sampled tokens; denominators count every sampled token of the batch. Sequences
of episodes without an advantage cannot move a weight, so they stay in the denominators and out of the microbatches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rollout.advantages import pack_advantages
from rollout.episode import Turn
from rollout.group import Claim
from rollout.sequences import Sequence as TokenSequence
from rollout.sequences import linearize
from rollout.trie import Trie
from trainer.algorithms import RunningBaseline, grpo, token_mean
from trainer.flagged import count_flagged
from trainer.megatron.microbatch import Microbatch, TrainBatch
from trainer.packing import pack


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence with the advantage of its episode and the temperature each token was sampled at."""

    sequence: TokenSequence
    advantage: float
    temperatures: NDArray[np.float32]

    @property
    def num_sampled(self) -> int:
        return int(self.sequence.action_mask.sum())

    @property
    def advantages(self) -> NDArray[np.float32]:
        """Per token, 0 where nothing trains."""
        return np.where(self.sequence.action_mask, np.float32(self.advantage), np.float32(0))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one optimizer step consumes, and what to say about it."""

    group_ids: tuple[str, ...]
    train: TrainBatch
    baseline: RunningBaseline
    rewards: tuple[float, ...]  # per episode
    advantages: tuple[float, ...]
    staleness: tuple[int, ...]  # per group: training version minus its oldest version
    num_sampled_tokens: int
    num_flagged_tokens: Mapping[str, int]  # by flag
    packed_advantages: Mapping[str, bytes]  # by episode, of its trained tokens

    @property
    def has_signal(self) -> bool:
        """Whether a step on this batch could move any weight."""
        return any(self.advantages)

    @property
    def num_episodes(self) -> int:
        return len(self.rewards)

    @property
    def zero_advantage_fraction(self) -> float:
        return sum(a == 0 for a in self.advantages) / max(1, self.num_episodes)


def prepare(
    claims: Sequence[Claim],
    *,
    baseline: RunningBaseline,
    training_version: int,
    token_budget: int,
    ranks: int = 1,
) -> Batch:
    """Advantages per episode, linearized sequences, packed microbatches."""
    rewards = [episode.rewards.total for claim in claims for episode in claim.episodes]
    sizes = [len(claim.episodes) for claim in claims]
    advantages, baseline = episode_advantages(rewards, sizes=sizes, baseline=baseline)
    episodes = [episode for claim in claims for episode in claim.episodes]
    rows_of = {
        episode.header.id: trie_rows(episode.trie(), advantage)
        for episode, advantage in zip(episodes, advantages, strict=True)
    }
    rows = [row for its_rows in rows_of.values() for row in its_rows]
    return Batch(
        group_ids=tuple(claim.group_id for claim in claims),
        train=pack_rows(rows, token_budget=token_budget, ranks=ranks),
        baseline=baseline,
        rewards=tuple(rewards),
        advantages=tuple(advantages),
        staleness=tuple(_staleness(claim, training_version) for claim in claims),
        num_sampled_tokens=sum(row.num_sampled for row in rows),
        num_flagged_tokens=count_flagged(row.sequence for row in rows),
        packed_advantages={
            episode_id: pack_advantages(
                row.advantages[row.sequence.action_mask] for row in its_rows
            )
            for episode_id, its_rows in rows_of.items()
        },
    )


def episode_advantages(
    rewards: Sequence[float], *, sizes: Sequence[int], baseline: RunningBaseline
) -> tuple[list[float], RunningBaseline]:
    """GRPO within each group; a group of one against the running baseline, which learns from it."""
    values = torch.tensor(rewards, dtype=torch.float64)
    counts = torch.tensor(sizes, dtype=torch.int64)
    groups = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    is_single = torch.repeat_interleave(counts == 1, counts)
    advantages = grpo(values, groups)
    advantages[is_single] = baseline.advantages(values[is_single])
    return advantages.tolist(), baseline.after(values[is_single])


def pack_rows(rows: Sequence[Row], *, token_budget: int, ranks: int = 1) -> TrainBatch:
    """Rows with an advantage in microbatches, under weights whose denominator counts all rows."""
    mask = torch.cat([torch.from_numpy(row.sequence.action_mask) for row in rows])
    weights = torch.split(token_mean(mask), [len(row.sequence.tokens) for row in rows])
    chosen = [i for i, row in enumerate(rows) if row.advantage != 0]
    lengths = [len(rows[i].sequence.tokens) for i in chosen]
    packed = pack(lengths, token_budget=token_budget, multiple=ranks)
    return TrainBatch(
        tuple(
            _microbatch([rows[chosen[i]] for i in bin_], [weights[chosen[i]] for i in bin_])
            for bin_ in packed
        )
    )


def episode_rows(turns: Sequence[Turn], advantage: float) -> list[Row]:
    """The sequences of one episode; every token that trains does so in exactly one of them."""
    return trie_rows(Trie(turns), advantage)


def trie_rows(trie: Trie, advantage: float) -> list[Row]:
    """The same, from an episode that is a trie already and knows what its rewards name."""
    # A greedy turn reports its logprobs at temperature 1. Tokens that were not sampled take the last entry.
    temperatures = np.array(
        [turn.sampling.temperature or 1.0 for turn in trie.turns] + [1.0], np.float32
    )
    return [Row(s, advantage, temperatures[s.turns]) for s in linearize(trie)]


def _microbatch(rows: Sequence[Row], weights: Sequence[Tensor]) -> Microbatch:
    lengths = [0, *(len(row.sequence.tokens) for row in rows)]
    sequences = [row.sequence for row in rows]
    mask = _joined([s.action_mask for s in sequences], torch.bool)
    return Microbatch(
        tokens=_joined([s.tokens for s in sequences], torch.int64),
        cu_seqlens=torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32),
        action_mask=mask,
        advantages=_joined([row.advantages for row in rows], torch.float32),
        behavior_logprobs=_joined([s.behavior_logprobs for s in sequences], torch.float32),
        proximal_logprobs=torch.zeros(len(mask)),
        weights=torch.cat(list(weights)),
        temperatures=_joined([row.temperatures for row in rows], torch.float32),
        flags=_joined([s.flags for s in sequences], torch.int32),
    )


def _staleness(claim: Claim, training_version: int) -> int:
    versions = [e.header.min_version for e in claim.episodes if e.header.min_version is not None]
    return training_version - min(versions, default=training_version)


def _joined(arrays: Sequence[NDArray[Any]], dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.concatenate(arrays)).to(dtype)
