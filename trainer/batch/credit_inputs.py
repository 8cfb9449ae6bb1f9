"""The inputs of credit, numbered over the batch: rewards by episode and by output, and the ways on which tokens lie.

A way is the path of sampled tokens from the root of an episode's trie to one leaf.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rollout.episode.episode_records import EpisodeView
from rollout.episode.span import Place, Span, path
from rollout.episode.trie import Trie
from trainer.batch.episode_facts import EpisodeFacts
from trainer.batch.episode_rows import Row, Ways, episode_ways
from trainer.composition.composition import Composition


@dataclass(frozen=True, slots=True)
class CreditInputs:
    """One batch. Outputs are what `Ways` numbers; rewards are float64, everything else int64 or bool."""

    rewards: Tensor  # [episodes], shaped
    groups: Tensor  # [episodes]
    output_rewards: Tensor  # [outputs], the rewards of each output or of its turn
    other_rewards: Tensor  # [episodes], the part of `rewards` that no output has
    states: Tensor  # [outputs], equal for outputs with the same new context since the last sampled token
    outputs: Tensor  # [tokens], the output each token belongs to
    episodes: Tensor  # [tokens]
    trains: Tensor  # bool [tokens], false for rows that are left out
    ways: Tensor  # [W], tokens along the way to each leaf
    way_bounds: Tensor  # [leaves + 1], way i is ways[bounds[i] : bounds[i + 1]]
    way_cuts: Tensor  # bool [leaves], whether a length or turn limit ended the way

    @classmethod
    def of(
        cls,
        episodes: Sequence[EpisodeView],
        tries: Sequence[Trie],
        rows: Sequence[Row],
        *,
        facts: EpisodeFacts,
        parts: Composition,
    ) -> "CreditInputs":
        """`rows` are those of all episodes in order."""
        ways = [episode_ways(trie) for trie in tries]
        firsts = np.cumsum([0, *(len(way.outputs) for way in ways)])
        owners = np.cumsum([0, *(len(way.spans) for way in ways)])
        along = [w + first for way, first in zip(ways, firsts, strict=False) for w in way.ways]
        outputs = [way.outputs + owner for way, owner in zip(ways, owners, strict=False)]
        numbers = torch.repeat_interleave(
            torch.arange(len(ways)), torch.tensor([len(way.outputs) for way in ways])
        )
        rewards = facts.shaped(parts)
        return cls(
            rewards=rewards,
            groups=facts.groups,
            output_rewards=parts.reward_scale * _by_output(episodes, tries, ways),
            other_rewards=rewards - parts.reward_scale * _given_to_turns(episodes, tries, ways),
            states=_states(ways),
            outputs=_joined(outputs),
            episodes=numbers,
            trains=torch.repeat_interleave(
                torch.tensor([row.trains for row in rows]),
                torch.tensor([row.num_sampled for row in rows]),
            ),
            ways=_joined(along),
            way_bounds=torch.tensor([0, *(len(way) for way in along)]).cumsum(0),
            way_cuts=torch.tensor(  # one row per way, in the same order
                [row.is_cut or episodes[row.episode].header.truncated for row in rows]
            ),
        )

    @property
    def way_ids(self) -> Tensor:
        """The way of each entry of `ways`."""
        lengths = self.way_bounds.diff()
        return torch.repeat_interleave(torch.arange(len(lengths)), lengths)

    @property
    def way_ends(self) -> Tensor:
        """Where in `ways` each way ends."""
        return self.way_bounds[1:] - 1

    @property
    def way_episodes(self) -> Tensor:
        """The episode of each way."""
        return self.episodes[self.ways[self.way_ends]]


def _by_output(
    episodes: Iterable[EpisodeView], tries: Iterable[Trie], ways: Iterable[Ways]
) -> Tensor:
    return torch.tensor(
        [
            episode.rewards.output(trie.turn_at(span.turn).id, span.output)
            for episode, trie, way in zip(episodes, tries, ways, strict=True)
            for span in way.spans
        ],
        dtype=torch.float64,
    )


def _given_to_turns(
    episodes: Iterable[EpisodeView], tries: Iterable[Trie], ways: Iterable[Ways]
) -> Tensor:
    """Rewards of the turns that train, each counted once even if it has several outputs."""
    totals = []
    for episode, trie, way in zip(episodes, tries, ways, strict=True):
        given = episode.rewards.turns
        turns = {trie.turn_at(span.turn).id for span in way.spans}
        totals.append(sum(given.get(turn, 0.0) for turn in turns))
    return torch.tensor(totals, dtype=torch.float64)


def _states(ways: Iterable[Ways]) -> Tensor:
    """One number for each different context before an output of the batch."""
    numbers: dict[bytes, int] = {}
    return torch.tensor(
        [numbers.setdefault(_shown(span), len(numbers)) for way in ways for span in way.spans],
        dtype=torch.int64,
    )


def _shown(output: Span) -> bytes:
    """The tokens between an output and the last sampled token before it; some of them may be stored with an earlier turn."""
    before = reversed(path(Place(output, 0))[:-1])
    shown = list(takewhile(lambda step: step[0].is_context, before))
    return b"".join(span.tokens[:end].tobytes() for span, end in reversed(shown))


def _joined(arrays: Iterable[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *arrays]))
