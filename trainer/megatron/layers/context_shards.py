"""How context-parallel ranks split sequences: each has one piece near the beginning and one near the end of every sequence.

A query attends to all keys before it, so an early and a late piece together cost every rank the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trainer.learner.paths import Path


@dataclass(frozen=True, slots=True)
class ContextShard:
    """The last `tokens` tokens of a path, all of one sequence."""

    path: Path
    tokens: int

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole sequence without parent, so that each query attends to all keys before it in the shard."""
        return len(self.path) == 1 and self.path[0][1] == self.tokens


def share(paths: Sequence[Path], *, rank: int, ranks: int) -> list[ContextShard]:
    """The shards of one rank, in the order of their sequences.

    [(0, 8)] over 2 ranks  ->  tokens 0 1 and 6 7 for rank 0, and 2 3 4 5 for rank 1
    """
    return [
        ContextShard([*path[:-1], (path[-1][0], end)], end - start)
        for path in paths
        for start, end in _pieces(path[-1][1], rank, ranks)
    ]


def _pieces(length: int, rank: int, ranks: int) -> Iterator[tuple[int, int]]:
    """Of 2 * ranks pieces, number `rank` from the start and number `rank` from the end; one piece if they touch."""
    bounds = [length * piece // (2 * ranks) for piece in range(2 * ranks + 1)]
    start, early, late, end = (bounds[i] for i in (rank, rank + 1, -rank - 2, -rank - 1))
    pieces = [(start, end)] if early == late else [(start, early), (late, end)]
    return ((start, end) for start, end in pieces if start < end)
