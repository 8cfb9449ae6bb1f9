"""Claimed groups into the batch that makes the next policy: rows, an advantage for every sampled token, minibatches, microbatches."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rollout.episode.advantages import Credit, pack_advantages
from rollout.episode.episode_records import EpisodeView
from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import Claim
from trainer.algorithms import RunningBaseline
from trainer.algorithms.rows import segment_sum
from trainer.batch.credit import credit
from trainer.batch.credit_inputs import CreditInputs
from trainer.batch.episode_facts import EpisodeFacts
from trainer.batch.episode_rows import Row, episode_rows
from trainer.batch.flagged_tokens import count_flagged
from trainer.batch.minibatches import Minibatch, pack_minibatches
from trainer.batch.tree import Branch
from trainer.composition.composition import Composition
from trainer.learner.microbatch import TrainBatch
from trainer.learner.paths import MIN_SAVING


@dataclass(frozen=True, slots=True)
class Batch:
    """The data of the steps to one policy, and the numbers reported about it."""

    group_ids: tuple[str, ...]
    episode_ids: tuple[str, ...]
    rows: tuple[Row, ...]
    bins: tuple[tuple[Branch, ...], ...]  # the rows of each microbatch
    train: TrainBatch  # the microbatches of all its minibatches
    minibatches: tuple[Minibatch, ...]
    credit_inputs: CreditInputs
    prior: RunningBaseline  # before this batch
    baseline: RunningBaseline  # after it
    rewards: tuple[float, ...]  # per episode, as they were given
    advantages: tuple[float, ...]  # per episode, the mean over its sampled tokens
    zero_advantage_fraction: float  # of the episodes: no token has an advantage
    staleness: tuple[int, ...]  # per group: training version minus its oldest version
    num_sampled_tokens: int
    num_flagged_tokens: Mapping[str, int]  # by flag
    awaits_values: bool  # the critic has not been measured yet: until then all advantages are 0

    @property
    def has_signal(self) -> bool:
        """Whether its rewards can move a weight; a KL term alone is not worth a policy.

        A critic learns from equal rewards too.
        """
        can_learn = self.awaits_values or self.zero_advantage_fraction < 1
        return can_learn and bool(self.train.microbatches)

    @property
    def num_episodes(self) -> int:
        return len(self.rewards)

    @property
    def token_staleness(self) -> Tensor:
        """Training version minus the version of every trained token; the first tokens of a fresh episode may be old."""
        found = [torch.empty(0, dtype=torch.int32)]
        for part in self.train.microbatches:
            assert part.staleness is not None
            found.append(part.staleness[part.action_mask])
        return torch.cat(found)

    @property
    def trained_rows(self) -> list[Row]:
        """The rows in the microbatches."""
        return [self.rows[branch.row] for bin_ in self.bins for branch in bin_]

    @property
    def num_unmerged_tokens(self) -> int:
        """Tokens that the trained outputs would need if each had a row with its whole prompt."""
        return sum(row.sequence.num_unmerged for row in self.trained_rows)

    def of_tokens(self, measured: Sequence[Tensor]) -> Tensor:
        """Values `[T]` of each microbatch to the sampled tokens as `credit_inputs` numbers them; 0 for rows outside. Float64."""
        by_row = {
            branch.row: values
            for bin_, part, whole in zip(self.bins, self.train.microbatches, measured, strict=True)
            for branch, values in zip(
                bin_, torch.split(whole, part.cu_seqlens.diff().tolist()), strict=True
            )
        }
        found = [
            by_row[i][torch.from_numpy(row.sequence.action_mask[-len(by_row[i]) :])]
            if i in by_row
            else torch.zeros(row.num_sampled)
            for i, row in enumerate(self.rows)
        ]
        return torch.cat(found).double()

    def of_microbatches(self, values: Tensor) -> list[Tensor]:
        """The inverse: float32 [T] for each microbatch, 0 where nothing was sampled."""
        rows = _credited(self.rows, values)
        return [
            torch.from_numpy(
                np.concatenate([rows[branch.row].advantages[branch.shared :] for branch in bin_])
            )
            for bin_ in self.bins
        ]

    def credited(self, advantages: Tensor, baseline: RunningBaseline) -> "Batch":
        """The batch with these advantages for its sampled tokens."""
        return replace(
            self,
            rows=tuple(_credited(self.rows, advantages)),
            train=self.train.replace("advantages", self.of_microbatches(advantages)),
            baseline=baseline,
            advantages=_by_episode(advantages, self.credit_inputs),
            zero_advantage_fraction=_zero_fraction(advantages, self.credit_inputs),
        )

    @property
    def credit(self) -> dict[str, Credit]:
        """By episode, the credit that the store keeps."""
        advantages: list[list[NDArray[np.float32]]] = [[] for _ in self.episode_ids]
        for row in self.rows:
            advantages[row.episode].append(row.advantages[row.sequence.action_mask])
        delivered = Counter[int]()
        for row in self.trained_rows:
            delivered[row.episode] += row.num_sampled
        reasons = {row.episode: row.left_out for row in self.rows}
        reasons |= {row.episode: None for row in self.rows if row.trains}
        return {
            episode_id: Credit(
                pack_advantages(advantages[number]),
                delivered[number],
                reasons.get(number, DiscardReason.OVERLONG),
            )
            for number, episode_id in enumerate(self.episode_ids)
        }


def prepare(
    claims: Sequence[Claim],
    *,
    parts: Composition,
    baseline: RunningBaseline,
    training_version: int,
    token_budget: int,
    ranks: int = 1,
    min_saving: float = MIN_SAVING,
) -> Batch:
    """Every rank calls it with the same claims and gets the same."""
    groups = [index for index, claim in enumerate(claims) for _ in claim.episodes]
    episodes = [episode for claim in claims for episode in claim.episodes]
    tries = [episode.trie() for episode in episodes]
    weights = [claims[group].weight for group in groups]
    rows = [
        replace(row, weight=weights[number])
        for number, trie in enumerate(tries)
        for row in episode_rows(trie, 0.0, episode=number, group=groups[number])
    ]
    facts = EpisodeFacts.of(episodes, rows, groups=groups)
    kept = facts.kept(parts)
    rows = [
        replace(row, left_out=_left_out(row, episodes[row.episode], kept[row.episode], parts))
        for row in rows
    ]
    inputs = CreditInputs.of(episodes, tries, rows, facts=facts, parts=parts)
    advantages, baseline_after = credit(inputs, parts, baseline)
    rows = _credited(rows, advantages)
    packed = pack_minibatches(
        rows,
        parts=parts,
        training_version=training_version,
        token_budget=token_budget,
        ranks=ranks,
        min_saving=min_saving,
    )
    return Batch(
        group_ids=tuple(claim.group_id for claim in claims),
        episode_ids=tuple(episode.header.id for episode in episodes),
        rows=tuple(rows),
        bins=packed.bins,
        train=packed.train,
        minibatches=packed.minibatches,
        credit_inputs=inputs,
        prior=baseline,
        baseline=baseline_after,
        rewards=tuple(episode.rewards.total for episode in episodes),
        advantages=_by_episode(advantages, inputs),
        zero_advantage_fraction=_zero_fraction(advantages, inputs),
        staleness=tuple(_staleness(claim, training_version) for claim in claims),
        num_sampled_tokens=sum(row.num_sampled for row in rows),
        num_flagged_tokens=count_flagged(row.sequence for row in rows),
        awaits_values=parts.needs_critic,
    )


def _credited(rows: Sequence[Row], advantages: Tensor) -> list[Row]:
    sizes = [row.num_sampled for row in rows]
    parts = torch.split(advantages.to(torch.float32), sizes)
    return [row.credited(part.numpy()) for row, part in zip(rows, parts, strict=True)]


def _left_out(
    row: Row, episode: EpisodeView, is_kept: bool, parts: Composition
) -> DiscardReason | None:
    """Overlong filtering leaves out rows that a length limit cut, an episode filter whole episodes."""
    if not is_kept:
        return DiscardReason.NO_SIGNAL
    is_cut = row.is_cut or episode.header.truncated
    return DiscardReason.OVERLONG if parts.overlong == "filter" and is_cut else None


def _by_episode(advantages: Tensor, inputs: CreditInputs) -> tuple[float, ...]:
    count = len(inputs.rewards)
    totals = segment_sum(advantages, inputs.episodes, count)
    sizes = torch.bincount(inputs.episodes, minlength=count).clamp(min=1)
    return tuple((totals / sizes).tolist())


def _zero_fraction(advantages: Tensor, inputs: CreditInputs) -> float:
    count = len(inputs.rewards)
    credited = segment_sum((advantages != 0).double(), inputs.episodes, count) > 0
    return 1 - int(credited.sum()) / max(1, count)


def _staleness(claim: Claim, training_version: int) -> int:
    versions = [e.header.min_version for e in claim.episodes if e.header.min_version is not None]
    return training_version - min(versions, default=training_version)
