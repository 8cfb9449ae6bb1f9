"""Held-out episodes evaluate the policy that sampled them, from the store to the ledger, and rank policies."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import Reward
from rollout.episode.turn import Output, OutputFlags, VersionInterval
from rollout.errors import EpisodeSettled
from rollout.ledger.evaluation import Evaluation, ranked
from rollout.ledger.ledger import Ledger
from rollout.settler import settle
from rollout.store.store import Store
from tests.rollout.play import commit, play
from tests.rollout.turns import output, turn


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    ledger = await Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    await ledger.close()


async def hold_out(store: Store, episode_id: str, *outputs: Output, kind: str = "side") -> None:
    """One side episode with a turn for each output."""
    await store.open(EpisodeSpec(episode_id, kind="side"))
    for index, made in enumerate(outputs):
        await commit(store, episode_id, turn(f"{episode_id}-{index}", [1], made, kind=kind))


async def scores(store: Store, ledger: Ledger) -> dict[int, tuple[int, float]]:
    """Episodes and mean reward by version, after the outbox was settled."""
    await settle(store, ledger)
    found = await ledger.evaluations(store.project)
    return {each.version: (each.episodes, each.mean_reward) for each in found}


async def test_a_version_is_scored_by_its_rewarded_held_out_episodes(
    store: Store, ledger: Ledger
) -> None:
    """Reward 0 counts; episodes without a reward, that train or were aborted do not."""
    for number, value in enumerate([1.0, 0.0, 0.5, None]):
        await hold_out(store, f"ep_{number}", output([2], version=3), output([2], version=3))
        if value is not None:
            await store.reward(f"ep_{number}", Reward(value))
        await store.seal(f"ep_{number}")
    await hold_out(store, "ep_gone", output([2], version=3))
    await store.reward("ep_gone", Reward(9.0))
    await store.seal("ep_gone", outcome="aborted")
    await play(store, "ep_train", version=3, value=7.0)
    await hold_out(store, "ep_unmarked_turns", output([2], version=5), kind="train")
    await store.reward("ep_unmarked_turns", Reward(0.25), complete=True)

    assert await scores(store, ledger) == {3: (3, 0.5), 5: (1, 0.25)}
    found = (await ledger.evaluations(store.project))[0]
    assert found.squares == pytest.approx(0.5)
    assert found.standard_error == pytest.approx((0.5 / 2 / 3) ** 0.5)


async def test_an_episode_of_two_versions_counts_for_neither(store: Store, ledger: Ledger) -> None:
    """An episode of two versions does not count, swapped within a turn or between turns; abandoned outputs are ignored."""
    both = Output.sampled(
        [2, 3],
        [-1, -1],
        versions=[VersionInterval(1, 0, 1), VersionInterval(2, 1, 2)],
        finish_reason="stop",
    )
    left = output([2], version=8, flags=OutputFlags.ABANDONED)
    await hold_out(store, "ep_within", both)
    await hold_out(store, "ep_between", output([2], version=1), output([2], version=2))
    await hold_out(store, "ep_retried", left, output([2], version=4))
    for name in ("ep_within", "ep_between", "ep_retried"):
        await store.reward(name, Reward(1.0), complete=True)

    assert await scores(store, ledger) == {4: (1, 1.0)}


async def test_a_late_judge_is_heard_and_a_deleted_episode_no_longer(
    store: Store, ledger: Ledger
) -> None:
    """A reward after the end counts, a new value replaces it, a repetition changes nothing, and deletion takes it back for good."""
    for name in ("ep_1", "ep_2"):
        await hold_out(store, name, output([2], version=6))
        await store.seal(name)
    assert await scores(store, ledger) == {}

    for value in (0.0, 1.0):
        await store.reward("ep_1", Reward(value))
    for _ in range(2):
        await store.reward("ep_2", Reward(0.5, idempotency_key="judge"))
    assert await scores(store, ledger) == {6: (2, 0.75)}

    await store.delete("ep_2")
    assert await scores(store, ledger) == {6: (1, 1.0)}

    with pytest.raises(EpisodeSettled):
        await store.reward("ep_2", Reward(0.5))
    assert await scores(store, ledger) == {6: (1, 1.0)}


async def test_hearing_twice_scores_once(store: Store, ledger: Ledger) -> None:
    """A settler that dies between ledger and store writes the same rows again."""
    for number in range(4):
        await hold_out(store, f"ep_{number}", output([2], version=1))
        await store.reward(f"ep_{number}", Reward(number), complete=True)
    told = await store.settled()
    await ledger.settle(store.project, told)
    await ledger.settle(store.project, told[:2])

    assert await scores(store, ledger) == {1: (4, 1.5)}


async def test_large_means_keep_small_deviations(store: Store, ledger: Ledger) -> None:
    """Rewards of a hundred million that differ by one deviate by one half from their mean."""
    for number in range(10):
        await hold_out(store, f"ep_{number}", output([2], version=1))
        await store.reward(f"ep_{number}", Reward(1e8 + number % 2), complete=True)
    await settle(store, ledger)

    (found,) = await ledger.evaluations(store.project)

    assert found.squares == pytest.approx(10 * 0.25)


def evaluation(version: int, rewards: Sequence[float]) -> Evaluation:
    mean = sum(rewards) / len(rewards)
    return Evaluation(version, len(rewards), mean, sum((r - mean) ** 2 for r in rewards))


def test_luck_does_not_win() -> None:
    """Five wins of five rank below 90 of 100, and a version with too few episodes is not ranked."""
    lucky, good = evaluation(1, [1.0] * 5), evaluation(2, [1.0] * 90 + [0.0] * 10)

    assert ranked([lucky, good], min_episodes=1) == [2, 1]
    assert ranked([lucky, good], min_episodes=6) == [2]
    assert ranked([lucky, good], min_episodes=101) == []


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_equal_numbers_of_episodes_are_ordered_by_their_means(wins: list[int]) -> None:
    """With equally many episodes the highest mean comes first, and of equal means the newest version."""
    evaluations = [
        evaluation(v, [1.0] * won + [0.0] * (20 - won)) for v, won in enumerate(wins, start=1)
    ]
    expected = sorted(range(1, len(wins) + 1), key=lambda v: (wins[v - 1], v), reverse=True)

    assert ranked(evaluations, min_episodes=20) == expected


def test_one_episode_has_no_standard_error() -> None:
    """A single episode has no standard error."""
    assert evaluation(1, [0.5]).standard_error is None
    assert ranked([evaluation(1, [0.5])], min_episodes=1) == [1]
