"""The facts by which rewards are shaped and episodes chosen: one entry per episode of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from rollout.episode.episode_records import EpisodeView
from trainer.algorithms import shaped_rewards, soft_overlong
from trainer.algorithms.entry import call
from trainer.batch.episode_rows import Row
from trainer.composition.composition import Composition


@dataclass(frozen=True, slots=True)
class EpisodeFacts:
    rewards: Tensor  # float64 [episodes], of the environment
    lengths: Tensor  # int64, sampled tokens that are in a row
    groups: Tensor  # int64
    truncated: Tensor  # bool, by a length or turn limit

    @classmethod
    def of(
        cls, episodes: Sequence[EpisodeView], rows: Sequence[Row], *, groups: Sequence[int]
    ) -> Self:
        lengths = torch.zeros(len(episodes), dtype=torch.int64)
        truncated = torch.tensor([episode.header.truncated for episode in episodes])
        for row in rows:
            lengths[row.episode] += row.num_sampled
            truncated[row.episode] |= row.is_cut
        rewards = torch.tensor([e.rewards.total for e in episodes], dtype=torch.float64)
        return cls(rewards, lengths, torch.tensor(groups), truncated)

    def shaped(self, parts: Composition) -> Tensor:
        """Transformed, scaled, bounded, and less the penalty for length; `[episodes]`."""
        entry = parts.known.reward_transform[parts.reward_transform]
        rewards = shaped_rewards(
            call(entry.formula, self._inputs | parts.own(entry)).double(),
            scale=parts.reward_scale,
            low=parts.reward_low,
            high=parts.reward_high,
        )
        if parts.overlong == "soft":
            rewards = rewards + soft_overlong(
                self.lengths, max_length=parts.overlong_length, cache_length=parts.overlong_cache
            )
        return rewards

    def kept(self, parts: Composition) -> list[bool]:
        """By episode: whether the filter lets it train."""
        entry = parts.known.episode_filter[parts.episode_filter]
        kept: list[bool] = call(entry.formula, self._inputs | parts.own(entry)).tolist()
        return kept

    @property
    def _inputs(self) -> dict[str, object]:
        return {
            "rewards": self.rewards,
            "lengths": self.lengths,
            "groups": self.groups,
            "truncated": self.truncated,
        }
