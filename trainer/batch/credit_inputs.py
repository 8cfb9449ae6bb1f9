"""The inputs of credit, numbered over the batch: rewards by episode and by output, and the paths on which tokens lie.

A path holds the sampled tokens from the root of an episode's trie to one leaf.
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
from trainer.batch.episode_rows import EpisodePaths, Row, episode_paths
from trainer.composition.composition import Composition


@dataclass(frozen=True, slots=True)
class CreditInputs:
    """One batch. Outputs are what `EpisodePaths` numbers; rewards are float64, everything else int64 or bool."""

    rewards: Tensor  # [episodes], shaped
    groups: Tensor  # [episodes]
    output_rewards: Tensor  # [outputs], the rewards of each output or of its turn
    other_rewards: Tensor  # [episodes], the part of `rewards` that no output has
    states: Tensor  # [outputs], equal for outputs with the same new context since the last sampled token
    outputs: Tensor  # [tokens], the output each token belongs to
    episodes: Tensor  # [tokens]
    trains: Tensor  # bool [tokens], false for rows that are left out
    paths: Tensor  # [P], tokens along the path to each leaf
    path_bounds: Tensor  # [leaves + 1], path i is paths[bounds[i] : bounds[i + 1]]
    path_cuts: Tensor  # bool [leaves], whether a length or turn limit ended the path

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
        paths = [episode_paths(trie) for trie in tries]
        firsts = np.cumsum([0, *(len(found.outputs) for found in paths)])
        owners = np.cumsum([0, *(len(found.spans) for found in paths)])
        along = [
            p + first for found, first in zip(paths, firsts, strict=False) for p in found.paths
        ]
        outputs = [found.outputs + owner for found, owner in zip(paths, owners, strict=False)]
        numbers = torch.repeat_interleave(
            torch.arange(len(paths)), torch.tensor([len(found.outputs) for found in paths])
        )
        rewards = facts.shaped(parts)
        return cls(
            rewards=rewards,
            groups=facts.groups,
            output_rewards=parts.reward_scale * _by_output(episodes, tries, paths),
            other_rewards=rewards - parts.reward_scale * _given_to_turns(episodes, tries, paths),
            states=_states(paths),
            outputs=_joined(outputs),
            episodes=numbers,
            trains=torch.repeat_interleave(
                torch.tensor([row.trains for row in rows]),
                torch.tensor([row.num_sampled for row in rows]),
            ),
            paths=_joined(along),
            path_bounds=torch.tensor([0, *(len(tokens) for tokens in along)]).cumsum(0),
            path_cuts=torch.tensor(  # one row per path, in the same order
                [row.is_cut or episodes[row.episode].header.truncated for row in rows]
            ),
        )

    @property
    def path_ids(self) -> Tensor:
        """The path of each entry of `paths`."""
        lengths = self.path_bounds.diff()
        return torch.repeat_interleave(torch.arange(len(lengths)), lengths)

    @property
    def path_ends(self) -> Tensor:
        """Where in `paths` each path ends."""
        return self.path_bounds[1:] - 1

    @property
    def path_episodes(self) -> Tensor:
        """The episode of each path."""
        return self.episodes[self.paths[self.path_ends]]


def _by_output(
    episodes: Iterable[EpisodeView], tries: Iterable[Trie], paths: Iterable[EpisodePaths]
) -> Tensor:
    return torch.tensor(
        [
            episode.rewards.output(trie.turn_at(span.turn).id, span.output)
            for episode, trie, found in zip(episodes, tries, paths, strict=True)
            for span in found.spans
        ],
        dtype=torch.float64,
    )


def _given_to_turns(
    episodes: Iterable[EpisodeView], tries: Iterable[Trie], paths: Iterable[EpisodePaths]
) -> Tensor:
    """Rewards of the turns that train, each counted once even if it has several outputs."""
    totals = []
    for episode, trie, found in zip(episodes, tries, paths, strict=True):
        given = episode.rewards.turns
        turns = {trie.turn_at(span.turn).id for span in found.spans}
        totals.append(sum(given.get(turn, 0.0) for turn in turns))
    return torch.tensor(totals, dtype=torch.float64)


def _states(paths: Iterable[EpisodePaths]) -> Tensor:
    """One number for each different context before an output of the batch."""
    numbers: dict[bytes, int] = {}
    return torch.tensor(
        [numbers.setdefault(_shown(span), len(numbers)) for found in paths for span in found.spans],
        dtype=torch.int64,
    )


def _shown(output: Span) -> bytes:
    """The tokens between an output and the last sampled token before it; some of them may be stored with an earlier turn."""
    before = reversed(path(Place(output, 0))[:-1])
    shown = list(takewhile(lambda step: step[0].is_context, before))
    return b"".join(span.tokens[:end].tobytes() for span, end in reversed(shown))


def _joined(arrays: Iterable[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *arrays]))
