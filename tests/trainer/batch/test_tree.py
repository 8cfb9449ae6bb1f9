"""Trees of rows: nothing is lost, what trains trains once, and no tree is too large or pointless."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.sequences import TokenSequence
from trainer.batch.tree import Branch, Tree, grow


def sequence(tokens: list[int], trained: list[bool]) -> TokenSequence:
    empty = np.zeros(len(tokens))
    return TokenSequence(
        episode_id="",
        tokens=np.array(tokens, np.int32),
        action_mask=np.array(trained, np.bool_),
        behavior_logprobs=empty.astype(np.float32),
        versions=empty.astype(np.int32),
        turns=empty.astype(np.int32),
        flags=empty.astype(np.int32),
    )


def numbered(given_rows: list[TokenSequence]) -> dict[int, TokenSequence]:
    return dict(enumerate(given_rows))


# Few tokens and few lengths, so that rows often begin alike; a first token never trains.
rows = st.lists(
    st.lists(st.tuples(st.integers(0, 1), st.booleans()), min_size=1, max_size=12).map(
        lambda pairs: sequence([t for t, _ in pairs], [False, *(m for _, m in pairs[1:])])
    ),
    max_size=12,
)


def unrolled(tree: Tree, given_rows: list[TokenSequence]) -> list[tuple[list[int], list[bool]]]:
    """(tokens, which of them train here) of the path to the end of each branch, walked by parents alone."""
    tokens: list[int] = []
    parents: list[int] = []
    paths = []
    for branch in tree.branches:
        row = given_rows[branch.row]
        start = len(tokens)
        own = row.tokens[branch.shared :].tolist()
        parents += [branch.parent, *range(start, start + len(own) - 1)]
        tokens += own
        path, at = [], len(tokens) - 1
        while at >= 0:
            path.append(at)
            at = parents[at]
        trained = [bool(row.action_mask[i]) and at >= start for i, at in enumerate(path[::-1])]
        paths.append(([tokens[at] for at in path[::-1]], trained))
    assert len(tokens) == tree.num_tokens
    return paths


@given(rows, st.integers(1, 60), st.sampled_from([1.0, 1.2, 1.5]))
def test_the_paths_of_trees_are_the_rows(
    given_rows: list[TokenSequence], budget: int, min_saving: float
) -> None:
    """Every row is one path with its tokens, and trains in its own branch exactly what it trained before."""
    trees = grow(numbered(given_rows), token_budget=budget, min_saving=min_saving)
    found = {
        branch.row: path
        for tree in trees
        for branch, path in zip(tree.branches, unrolled(tree, given_rows), strict=True)
    }
    assert sum(len(tree.branches) for tree in trees) == len(given_rows)
    for index, row in enumerate(given_rows):
        assert found[index] == (row.tokens.tolist(), row.action_mask.tolist())


@given(rows, st.integers(1, 60), st.sampled_from([1.2, 1.5, 3.0]))
def test_a_tree_is_within_the_budget_and_worth_it(
    given_rows: list[TokenSequence], budget: int, min_saving: float
) -> None:
    """A tree of several rows fits the budget and is smaller than they are by the asked factor."""
    for tree in grow(numbered(given_rows), token_budget=budget, min_saving=min_saving):
        if len(tree.branches) > 1:
            assert tree.num_tokens <= budget
            size = sum(len(given_rows[branch.row]) for branch in tree.branches)
            assert size >= min_saving * tree.num_tokens


def test_what_two_rows_train_is_not_shared() -> None:
    """Two outputs with the same tokens after the same prompt train twice; a third row that has them as context shares them."""
    prompt = [1] * 8
    twice = sequence([*prompt, 2, 3], [False] * 8 + [True] * 2)
    context = sequence([*prompt, 2, 3, 4], [False] * 10 + [True])
    (tree,) = grow(numbered([twice, twice, context]), token_budget=100)
    assert tree.branches == (Branch(0), Branch(1, 8, 7), Branch(2, 10, 9))
    assert tree.num_tokens == 13


def test_a_row_goes_to_the_tree_that_shares_most() -> None:
    """Rows that have a few tokens in common with everybody keep to those they have most in common with."""
    tasks = [[0, *[task] * 10] for task in (1, 2)]
    given_rows = [sequence([*tasks[i % 2], 10 + i], [False] * 11 + [True]) for i in range(6)]
    trees = grow(numbered(given_rows), token_budget=100)
    assert [[branch.row for branch in tree.branches] for tree in trees] == [[0, 2, 4], [1, 3, 5]]
    assert [tree.num_tokens for tree in trees] == [14, 14]


def test_a_full_tree_is_followed_by_another() -> None:
    """When the budget leaves no room for a row, the row begins the next tree."""
    given_rows = [sequence([*[1] * 10, 2 + i], [False] * 10 + [True]) for i in range(8)]
    trees = grow(numbered(given_rows), token_budget=14)
    assert [tree.num_tokens for tree in trees] == [14, 14]


def test_no_tree_is_smaller_than_infinitely_often() -> None:
    """An infinite saving asked for leaves every row alone."""
    given_rows = [sequence([1, 1, 1, 2], [False] * 3 + [True])] * 3
    trees = grow(numbered(given_rows), token_budget=100, min_saving=float("inf"))
    assert trees == [Tree((Branch(i),), 4) for i in range(3)]
