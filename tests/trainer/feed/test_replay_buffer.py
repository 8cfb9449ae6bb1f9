"""Which of the waiting groups a batch takes, and with what weight."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.batch.test_batch import claim
from trainer.feed.replay_buffer import Order, ReplayBuffer, correction_weights, draw_chances

SPREADS = {"even": [1.0, 1.0], "close": [0.5, 0.4], "apart": [1.0, 0.0]}


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30),
    st.sampled_from(["oldest", "priority"]),
)
def test_every_group_is_taken_once(plan: list[tuple[int, int]], order: Order) -> None:
    """In any order of hold and take, each group is taken exactly once or still held, within the capacity."""
    buffer, held, taken = ReplayBuffer(8, order=order), 0, []
    for arriving, leaving in plan:
        new = [claim(f"g{held + n}", [1.0, 0.0]) for n in range(min(arriving, buffer.room))]
        held += len(new)
        buffer.hold(new)
        taken += buffer.take(min(leaving, len(buffer)))

    ids = [c.group_id for c in [*taken, *buffer.claims]]
    assert sorted(ids) == sorted(f"g{n}" for n in range(held))
    assert len(buffer) <= 8


def test_the_oldest_come_first() -> None:
    """Without priorities a batch has the groups that waited longest, at full weight."""
    buffer = filled("oldest", ["a", "b", "c"])

    assert [(c.group_id, c.weight) for c in buffer.take(2)] == [("a", 1.0), ("b", 1.0)]


def test_priority_prefers_groups_whose_rewards_differ() -> None:
    """A group with a signal is drawn more often than one without, which is still drawn."""
    drawn = Counter(buffer_of(SPREADS, seed).take(1)[0].group_id for seed in range(400))

    assert drawn["apart"] > drawn["close"] > drawn["even"] > 0


def test_what_is_preferred_is_weighed_down() -> None:
    """Chance times weight to the power that undoes it is the same for all; no weight is above 1."""
    chances = draw_chances([claim(name, rewards) for name, rewards in SPREADS.items()])
    weights = correction_weights(chances)

    assert chances.sum() == pytest.approx(1.0)
    assert weights.max() == 1.0
    assert np.ptp(chances * weights ** (1 / 0.4)) == pytest.approx(0.0)


def test_groups_that_teach_nothing_are_all_alike() -> None:
    """Without any spread the draw is uniform and corrects nothing."""
    chances = draw_chances([claim(str(n), [1.0, 1.0]) for n in range(4)])

    assert chances.tolist() == [0.25] * 4
    assert correction_weights(chances).tolist() == [1.0] * 4


def buffer_of(spreads: dict[str, list[float]], seed: int) -> ReplayBuffer:
    buffer = ReplayBuffer(len(spreads), order="priority", seed=seed)
    buffer.hold([claim(name, rewards) for name, rewards in spreads.items()])
    return buffer


def filled(order: Order, names: Sequence[str]) -> ReplayBuffer:
    buffer = ReplayBuffer(len(names), order=order)
    buffer.hold([claim(name, [1.0, 0.0]) for name in names])
    return buffer
