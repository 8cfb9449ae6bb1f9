"""Rows with equal first tokens, as trees that hold each of these prefixes once; pure and deterministic.

A token's hidden state depends on the tokens up to it alone, so a row may share its prefix with an earlier row, of the same episode or of
another. It never shares tokens that it trains: two outputs with the same tokens were sampled twice and train twice.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from rollout.episode.sequences import TokenSequence
from rollout.episode.span import common_length
from trainer.batch.packing import pack
from trainer.learner.paths import MIN_SAVING


@dataclass(frozen=True, slots=True)
class Branch:
    """A row from the token at which it differs from the rows before it."""

    row: int
    shared: int = 0  # number of its first tokens that an earlier row holds
    parent: int = -1  # the last of these in the tree or microbatch; -1 if there is none


@dataclass(frozen=True, slots=True)
class Tree:
    """The tokens of the branches that are not shared, end to end."""

    branches: tuple[Branch, ...]
    num_tokens: int


def pack_trees(
    rows: Mapping[int, TokenSequence], *, token_budget: int, multiple: int, min_saving: float
) -> tuple[tuple[Branch, ...], ...]:
    """The rows by microbatch. Trees become smaller until the number of microbatches is a multiple."""
    limit = token_budget
    while True:
        trees = grow(rows, token_budget=limit, min_saving=min_saving)
        sizes = [tree.num_tokens for tree in trees]
        bins = pack(sizes, token_budget=token_budget, multiple=multiple)
        if len(bins) % multiple == 0 or len(trees) == len(rows):
            return tuple(_end_to_end([trees[i] for i in bin_]) for bin_ in bins)
        limit //= 2


def grow(
    rows: Mapping[int, TokenSequence], *, token_budget: int, min_saving: float = MIN_SAVING
) -> list[Tree]:
    """The rows in trees within the budget; one that shares too little, or is longer, makes a tree of its own.

    [1 2 3 4], [1 2 5], [6 7], where 3 4, 5 and 7 train  ->  [1 2 3 4 | 5], [6 7]
    """
    growing: list[_Growing] = []
    for index, row in rows.items():
        offers = [(tree, tree.meet(index, row)) for tree in growing]
        suitable = [
            (tree, branch)
            for tree, branch in offers
            if len(row) >= min_saving * (len(row) - branch.shared)
            and tree.num_tokens + len(row) - branch.shared <= token_budget
        ]
        if suitable:
            tree, branch = max(suitable, key=lambda offer: offer[1].shared)
        else:
            tree, branch = _Growing(), Branch(index)
            growing.append(tree)
        tree.add(branch, row)
    return [tree for found in growing for tree in found.harvest(min_saving)]


def _end_to_end(trees: Sequence[Tree]) -> tuple[Branch, ...]:
    starts = accumulate((tree.num_tokens for tree in trees), initial=0)
    return tuple(
        replace(branch, parent=branch.parent + start) if branch.shared else branch
        for tree, start in zip(trees, starts, strict=False)
        for branch in tree.branches
    )


class _Growing:
    """A tree that takes more rows."""

    def __init__(self) -> None:
        self.num_tokens = 0
        self._branches: list[Branch] = []
        self._rows: list[TokenSequence] = []
        self._starts: list[int] = []

    def meet(self, index: int, row: TokenSequence) -> Branch:
        """The row after its longest prefix that is here already and that it does not train."""
        trained = row.action_mask.nonzero()[0]
        free = row.tokens[: trained[0] if len(trained) else len(row) - 1]
        depths: list[int] = []  # number of tokens that the row shares with each branch
        for branch, known in zip(self._branches, self._rows, strict=True):
            shared = branch.shared
            if branch.parent >= 0 and depths[self._host(branch)] < shared:
                depths.append(0)
            else:
                depths.append(shared + common_length(known.tokens[shared:], free[shared:]))
        depth = max(depths)
        host = depths.index(depth)  # the first branch that shares most holds the last shared token
        last = self._starts[host] + depth - self._branches[host].shared - 1
        return Branch(index, shared=depth, parent=last)

    def add(self, branch: Branch, row: TokenSequence) -> None:
        self._branches.append(branch)
        self._rows.append(row)
        self._starts.append(self.num_tokens)
        self.num_tokens += len(row) - branch.shared

    def harvest(self, min_saving: float) -> Iterator[Tree]:
        """The tree, or its rows one by one where it saves too little."""
        if sum(map(len, self._rows)) >= min_saving * self.num_tokens:
            yield Tree(tuple(self._branches), self.num_tokens)
            return
        for branch, row in zip(self._branches, self._rows, strict=True):
            yield Tree((Branch(branch.row),), len(row))

    def _host(self, branch: Branch) -> int:
        """The branch that holds the parent."""
        return bisect_right(self._starts, branch.parent) - 1
