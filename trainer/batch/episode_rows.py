"""Episodes as rows: the sequences that train, and the paths of the episode on which each sampled token lies."""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from rollout.episode.episode_status import DiscardReason
from rollout.episode.sequences import TokenSequence, is_trainable, leaves, linearize
from rollout.episode.span import Place, Span, path
from rollout.episode.trie import Trie
from rollout.episode.turn import OutputFlags
from trainer.learner.errors import ImagesNotSupported


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence with an advantage and a sampling temperature for each of its tokens."""

    sequence: TokenSequence
    advantages: NDArray[np.float32]  # 0 where nothing was sampled
    temperatures: NDArray[np.float32]
    episode: int = 0  # numbered over the batch
    group: int = 0  # likewise
    left_out: DiscardReason | None = None  # why it counts in no loss, only in its group
    weight: float = 1.0  # factor of its loss; below 1 for a group that was drawn by priority

    @property
    def trains(self) -> bool:
        return self.left_out is None

    @property
    def num_sampled(self) -> int:
        return int(self.sequence.action_mask.sum())

    @property
    def has_signal(self) -> bool:
        """Whether any of its tokens has an advantage."""
        return bool(self.advantages.any())

    @property
    def is_cut(self) -> bool:
        """Whether a length limit ended what it sampled last."""
        sampled = np.flatnonzero(self.sequence.action_mask)
        last = self.sequence.flags[sampled[-1:]]
        return bool((last & int(OutputFlags.TRUNCATED)).any())

    def without_first(self, num_tokens: int) -> "Row":
        """The row without its first tokens."""
        columns = {name: getattr(self.sequence, name) for name in self.sequence.__struct_fields__}
        cut = {n: c[num_tokens:] for n, c in columns.items() if isinstance(c, np.ndarray)}
        return replace(
            self,
            sequence=msgspec.structs.replace(self.sequence, **cut),
            advantages=self.advantages[num_tokens:],
            temperatures=self.temperatures[num_tokens:],
        )

    def credited(self, values: NDArray[np.float32]) -> "Row":
        """The row with these advantages on its sampled tokens, in their order."""
        advantages = np.zeros(len(self.sequence), np.float32)
        advantages[self.sequence.action_mask] = values
        return replace(self, advantages=advantages)


@dataclass(frozen=True, slots=True)
class EpisodePaths:
    """The sampled tokens of one episode, numbered in the order of its rows, along the paths to its leaves.

    (P1, O1), (P1 O1 P2, O2), (P1 O1 P3, O3)  ->  rows train [O1 O2], [O3]; paths are [O1 O2], [O1 O3].
    """

    outputs: NDArray[np.int64]  # the output each token belongs to
    spans: tuple[Span, ...]  # each output in the trie
    paths: tuple[NDArray[np.int64], ...]  # tokens by number, one path per row


def episode_rows(trie: Trie, advantage: float, *, episode: int = 0, group: int = 0) -> list[Row]:
    """The sequences of one episode; every sampled, not abandoned token trains in exactly one of them."""
    # A greedy turn reports its logprobs at temperature 1. Tokens that were not sampled take the last entry.
    temperatures = np.array(
        [turn.sampling.temperature or 1.0 for turn in trie.turns] + [1.0], np.float32
    )
    sequences = linearize(trie)
    if any(sequence.media for sequence in sequences):
        raise ImagesNotSupported(
            f"turn {trie.turn_at(0).id} and what follows it show images, which no model here can be trained on; "
            "discard the episode"
        )
    return [
        Row(
            sequence,
            advantage * sequence.action_mask.astype(np.float32),
            temperatures[sequence.turns],
            episode,
            group,
        )
        for sequence in sequences
    ]


def episode_paths(trie: Trie) -> EpisodePaths:
    """Walks the leaves as `linearize` does, so that the numbers are those of the rows' sampled tokens."""
    numbers: dict[Span, list[int]] = {}
    outputs: dict[Span, int] = {}
    owners: list[int] = []
    paths = []
    for leaf in leaves(trie):
        along: list[int] = []
        for span, end in path(Place(leaf, len(leaf))):
            if is_trainable(trie, span):
                known = numbers.setdefault(span, [])
                new = end - len(known)
                known += range(len(owners), len(owners) + new)
                owners += [outputs.setdefault(span, len(outputs))] * new
                along += known[:end]
        paths.append(np.array(along, np.int64))
    return EpisodePaths(np.array(owners, np.int64), tuple(outputs), tuple(paths))
