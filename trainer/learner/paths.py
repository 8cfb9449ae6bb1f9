"""How the sequences of a microbatch hang together: each is the end of a path from a root."""

from bisect import bisect_right
from collections.abc import Sequence

# (sequence, how many tokens at its start), from the root on; the last piece is the sequence itself, whole.
Path = list[tuple[int, int]]

# How many times larger its rows must be for a tree to be used. A row joins one if it leaves that much of itself to it,
# so that strangers which share a few tokens stay apart. A tree costs nothing beside its tokens: `tests/bench/trees.py`
# finds a step 1.1 times as fast where they are 1.1 times fewer.
MIN_SAVING = 1.1


def paths(bounds: Sequence[int], parents: Sequence[int]) -> list[Path]:
    """The path of every sequence; `parents` are the tokens they continue, -1 where one begins anew.

    bounds [0 4 6 7], parents [-1 1 5]  ->  [(0, 4)], [(0, 2) (1, 2)], [(0, 2) (1, 2) (2, 1)]
    """
    found: list[Path] = []
    for index, parent in enumerate(parents):
        path: Path = []
        if parent >= 0:
            owner = bisect_right(bounds, parent) - 1
            path = [*found[owner][:-1], (owner, parent - bounds[owner] + 1)]
        found.append([*path, (index, bounds[index + 1] - bounds[index])])
    return found


def length(path: Path) -> int:
    """How many tokens a path has."""
    return sum(tokens for _, tokens in path)
