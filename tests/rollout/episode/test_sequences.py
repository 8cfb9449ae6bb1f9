"""Linearization: every sampled token trains exactly once, under the prefix it was sampled in."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.sequences import TokenSequence, is_trainable, linearize
from rollout.episode.trie import Trie
from rollout.episode.turn import Anchor, OutputFlags, Turn
from tests.rollout.random_episodes import continued, episodes, paths, reordered, rewarded
from tests.rollout.turns import output, turn


@given(st.data())
def test_every_sampled_token_trains_exactly_once(data: st.DataObject) -> None:
    """The trainable tokens over all rows are the sampled ones, with their prefix, logprob and version.

    Only of several choices those are missing that were passed over for one that was continued or rewarded, and of several
    turns with equal bodies those that are neither while another is, or that are not the last.
    """
    turns = data.draw(episodes())
    named = data.draw(rewarded(turns))
    judged = data.draw(st.sets(st.sampled_from([t.id for t in turns]), max_size=2))
    taken = named | continued(turns)

    rows = linearize(Trie(turns, rewarded=named, rewarded_turns=judged))

    kept = [t for t in turns if t.id not in lost(turns, used=judged | {id_ for id_, _ in taken})]
    assert trained(rows, turns) == sampled(turns, of=kept, taken=taken)


def test_of_two_equal_calls_the_one_that_is_continued_trains() -> None:
    """If a reply got lost and the call was made again, the first one trains only if the agent had it after all or a reward names it."""
    first, second = turn("a", [1], output([10]), body="x"), turn("b", [1], output([20]), body="x")
    answered = turn("c", [2], output([12]), anchor=Anchor("b", 0, 1))
    again = turn("d", [2, 3], output([13]), anchor=Anchor("a", 0, 1))

    assert rows_of([first, second]) == [[1, 20]]
    assert rows_of([first, second, answered]) == [[1, 20, 2, 12]]
    assert rows_of([first, second, answered], ("a", 0)) == [[1, 20, 2, 12], [1, 10]]
    assert len(rows_of([first, second, answered, again])) == 2


def test_calls_that_say_that_they_are_no_repeats_all_train() -> None:
    """A vote by calls with a count of tries or with keys of their own; of a client whose calls are joined only the last one trains."""
    for keys, kept in (
        (("body:x", "body:x"), [10, 20, 30]),
        (("key:1", "key:2"), [10, 20, 30]),
        (("", "joined:x"), [20, 30]),
    ):
        key, other = keys
        votes = [
            turn("a", [1], output([10]), body="x", retry_key=key),
            turn("b", [1], output([20]), body="x", retry_key=other),
            turn("c", [1], output([30]), body="z", retry_key=key),
        ]
        assert sorted(last for *_, last in rows_of(votes)) == kept


def test_equal_calls_are_no_matter_of_choices_and_branches() -> None:
    """Choices of one turn, the same prompt in another body, side calls and calls whose client left are not taken for repeats."""
    choices = turn("a", [1], output([10]), output([20]), body="x")
    left = turn("b", [1], output([30], flags=OutputFlags.ABANDONED), body="x")
    side = turn("c", [1], output([40]), body="x", kind="side")
    other = turn("d", [1], output([50]), body="y")

    assert rows_of([choices, left, side, other]) == [[1, 10], [1, 20], [1, 50]]


def test_a_choice_that_was_passed_over_trains_only_if_rewarded() -> None:
    """If the agent continues the second of three outputs, only that one trains; the third does too once a reward names it."""
    turns = [
        turn("a", [1], output([10, 11]), output([20]), output([30])),
        turn("b", [2], output([12]), anchor=Anchor("a", 1, 1)),
    ]

    assert rows_of(turns) == [[1, 20, 2, 12]]
    assert rows_of(turns, ("a", 2)) == [[1, 20, 2, 12], [1, 30]]


def test_choices_of_which_none_was_taken_all_train() -> None:
    """If an episode ends with several outputs, all train, unless a reward names one of them."""
    turns = [turn("a", [1], output([10]), output([20]))]

    assert rows_of(turns) == [[1, 10], [1, 20]]
    assert rows_of(turns, ("a", 0)) == [[1, 10]]
    assert rows_of(turns, ("a", 0), ("a", 1)) == [[1, 10], [1, 20]]


def test_a_side_call_takes_no_choice() -> None:
    """A side call that is prompted with every output does not decide which of them is taken."""
    turns = [
        turn("a", [1], output([10]), output([20])),
        turn("j", [3], output([5]), anchor=Anchor("a", 0, 1), kind="side"),
        turn("k", [3], output([5]), anchor=Anchor("a", 1, 1), kind="side"),
    ]

    assert len(rows_of(turns)) == 2
    goes_on = turn("b", [3, 4], output([12]), anchor=Anchor("a", 1, 1))
    assert rows_of([*turns, goes_on]) == [[1, 20, 3, 4, 12]]


@given(episodes())
def test_what_does_not_train_is_marked_so(turns: list[Turn]) -> None:
    """Tokens outside the mask have no logprob, no version and no turn."""
    for sequence in linearize(Trie(turns)):
        context = ~sequence.action_mask
        assert (sequence.behavior_logprobs[context] == 0).all()
        assert (sequence.versions[context] == -1).all()
        assert (sequence.turns[context] == -1).all()
        assert sequence.action_mask.any()


@given(reordered())
def test_rows_do_not_depend_on_the_order_of_commits(
    orders: tuple[list[Turn], list[Turn]],
) -> None:
    """The order in which two gateways commit does not change the rows."""
    one, other = ([pattern(row) for row in linearize(Trie(turns))] for turns in orders)

    assert one == other


def test_turns_that_extend_each_other_become_one_row() -> None:
    """A linear conversation trains in one row, however many turns it has."""
    turns = [
        turn("a", [1, 2], output([10, 11])),
        turn("b", [3], output([12]), anchor=Anchor("a", 0, 2)),
        turn("c", [4], output([13]), anchor=Anchor("b", 0, 1)),
    ]

    (row,) = linearize(Trie(turns), "ep_1")

    assert row.episode_id == "ep_1"
    assert row.tokens.tolist() == [1, 2, 10, 11, 3, 12, 4, 13]
    assert row.action_mask.tolist() == [False, False, True, True, False, True, False, True]
    assert row.turns.tolist() == [-1, -1, 0, 0, -1, 1, -1, 2]


def test_a_shared_output_trains_in_the_longest_row() -> None:
    """After a fork the common output is context in the shorter branch."""
    turns = [
        turn("a", [1], output([10, 11])),
        turn("b", [2], output([12]), anchor=Anchor("a", 0, 2)),
        turn("c", [3, 3], output([13]), anchor=Anchor("a", 0, 2)),
    ]

    longest, shorter = linearize(Trie(turns))

    assert longest.tokens.tolist() == [1, 10, 11, 3, 3, 13]
    assert longest.turns.tolist() == [-1, 0, 0, -1, -1, 2]
    assert shorter.turns.tolist() == [-1, -1, -1, -1, 1]


def test_a_branch_inside_an_output_splits_what_trains() -> None:
    """Kept tokens of an edited reply train with the branch, the rest with the reply itself."""
    turns = [
        turn("a", [1], output([10, 11, 12])),
        turn("b", [2] * 9, output([13]), anchor=Anchor("a", 0, 2)),
    ]

    longest, shorter = linearize(Trie(turns))

    assert longest.turns.tolist() == [-1, 0, 0, *[-1] * 9, 1]
    assert shorter.tokens.tolist() == [1, 10, 11, 12]
    assert shorter.action_mask.tolist() == [False, False, False, True]


def test_versions_follow_their_tokens() -> None:
    """A swap in the middle of an output is visible per token."""
    swapped = output([10, 11, 12], version=4)
    swapped = type(swapped)(
        swapped.tokens,
        swapped.logprobs,
        (type(swapped.versions[0])(4, 0, 1), type(swapped.versions[0])(5, 1, 3)),
        "stop",
    )

    (row,) = linearize(Trie([turn("a", [1], swapped)]))

    assert row.versions.tolist() == [-1, 4, 5, 5]


def test_an_episode_without_trainable_tokens_has_no_rows() -> None:
    """Abandoned and side outputs are dropped, with the context that only they depend on."""
    left = output([10], flags=OutputFlags.ABANDONED)

    assert linearize(Trie([turn("a", [1], left), turn("b", [2], kind="side")])) == []


@given(episodes())
def test_rows_know_what_they_save(turns: list[Turn]) -> None:
    """Over all rows, `num_unmerged` is the tokens of one row, with its whole prompt, for each output that trains."""
    trie = Trie(turns)
    outputs = [span for span in trie.spans() if is_trainable(trie, span)]

    unmerged = sum(row.num_unmerged for row in linearize(trie))

    assert unmerged == sum(span.depth + len(span) for span in outputs)


def test_merging_pays_off_on_long_conversations() -> None:
    """Forty turns of the agent profile need 22 times fewer tokens than one row per turn."""
    trie, anchor = Trie(), None
    for ordinal in range(40):
        context = [1] * (6000 if ordinal == 0 else 750)
        trie.extend(turn(f"t{ordinal}", context, output([2] * 250), anchor=anchor))
        anchor = Anchor(f"t{ordinal}", 0, 250)

    (row,) = linearize(trie)

    assert row.num_unmerged == sum(len(trie.tokens(Anchor(t.id, 0, 250))) for t in trie.turns)
    assert row.num_unmerged / len(row) > 22


def rows_of(turns: list[Turn], *named: tuple[str, int]) -> list[list[int]]:
    return [row.tokens.tolist() for row in linearize(Trie(turns, rewarded=named))]


def pattern(row: TokenSequence) -> tuple[object, ...]:
    """A row without the ordinals, which do follow the order of commits."""
    columns = (row.tokens, row.action_mask, row.behavior_logprobs, row.versions)
    return tuple(tuple(column.tolist()) for column in columns)


def trained(rows: list[TokenSequence], turns: list[Turn]) -> Counter[tuple[object, ...]]:
    """Every trainable position as (prefix, token, logprob, version, turn)."""
    return Counter(
        (
            tuple(row.tokens[:t].tolist()),
            int(row.tokens[t]),
            float(row.behavior_logprobs[t]),
            int(row.versions[t]),
            turns[row.turns[t]].id,
        )
        for row in rows
        for t in row.action_mask.nonzero()[0]
    )


def lost(turns: list[Turn], *, used: set[str]) -> set[str]:
    """By plain Python, the turns that were repeated by one with an equal body, of clients that do not say so."""
    found: set[str] = set()
    turns = [t for t in turns if not t.retry_key.startswith(("body:", "key:"))]
    for body in {t.body_digest for t in turns if t.body_digest}:
        equal = [t.id for t in turns if t.body_digest == body and t.trainable_outputs]
        kept = used & set(equal) or set(sorted(equal)[-1:])
        found |= set(equal) - kept
    return found


def sampled(
    turns: list[Turn], *, of: list[Turn], taken: set[tuple[str, int]]
) -> Counter[tuple[object, ...]]:
    """The same from the log alone, by plain Python."""
    found: Counter[tuple[object, ...]] = Counter()
    ways = paths(turns)
    for t in of:
        choices = {(t.id, index): out for index, out in enumerate(t.outputs)}
        for choice, out in choices.items():
            if out not in t.trainable_outputs or (taken & set(choices) and choice not in taken):
                continue
            ids = out.ids.tolist()
            for offset, token in enumerate(ids):
                prefix = (*ways[t.id][0], *ids[:offset])
                logprob = float(out.behavior_logprobs[offset])
                found[prefix, token, logprob, out.versions[0].version, t.id] += 1
    return found
