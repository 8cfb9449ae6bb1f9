"""Rewards in the store: each counts once, amends the one before, and comes too late once the trainer has its episode."""

import pytest

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import EpisodeReward, Reward
from rollout.errors import (
    EpisodeClaimed,
    EpisodeSettled,
    NoSuchEpisode,
    NoSuchTurn,
    RetryMismatch,
)
from rollout.store.store import Store
from tests.rollout.clock import Clock
from tests.rollout.play import claim, play, policy


async def test_repeating_a_reward_with_its_key_gives_the_same_answer(
    store: Store, clock: Clock
) -> None:
    """The same key gets the same answer, also after training; another value under that key is refused."""
    await play(store, "ep_1", value=None)
    reward = Reward(0.5, name="win", idempotency_key="k")
    answer = await store.reward("ep_1", reward, complete=True)
    clock.advance(9)

    assert await store.reward("ep_1", reward) == answer
    with pytest.raises(RetryMismatch):
        await store.reward("ep_1", Reward(0.7, name="win", idempotency_key="k"))
    claims = await claim(store)
    await store.ack("trainer", [claims[0].group_id], policy(2))
    assert await store.reward("ep_1", reward) == answer


async def test_a_new_value_amends_and_history_remembers(store: Store) -> None:
    """The last value for a turn and name counts; the history has every value."""
    await play(store, "ep_1", value=None)
    for value in (1.0, -2.0):
        await store.reward("ep_1", Reward(value))
    await store.reward("ep_1", Reward(0.25, name="style", turn_id="turn of ep_1"))

    view = await store.episode("ep_1")
    history = await store.reward_history("ep_1")

    assert view is not None
    assert (view.rewards.episode, view.rewards.turns) == (-2.0, {"turn of ep_1": 0.25})
    assert [(h.place, h.value, h.amended) for h in history] == [
        ((None, None, "reward"), 1.0, False),
        ((None, None, "reward"), -2.0, True),
        (("turn of ep_1", None, "style"), 0.25, False),
    ]
    totals = await store.totals()
    assert (totals.reward_sum, totals.reward_count) == (-1.75, 1)


async def test_a_reward_for_a_turn_of_another_episode_is_refused(store: Store) -> None:
    """Turn ids are checked against the episode."""
    await play(store, "ep_1", value=None)
    await play(store, "ep_2", value=None)

    with pytest.raises(NoSuchTurn):
        await store.reward("ep_1", Reward(1.0, turn_id="turn of ep_2"))
    view = await store.episode("ep_1")
    assert view is not None
    assert view.rewards.values == {}


async def test_rewards_are_weighted_by_the_project(store: Store) -> None:
    """Claims and totals use the weights that the project keeps."""
    await store.weigh_rewards({"cost": -0.1})
    await play(store, "ep_1", value=None)
    await store.reward("ep_1", Reward(5.0, name="cost"))
    await store.reward("ep_1", Reward(1.0), complete=True)

    (claimed,) = await claim(store)

    assert claimed.episodes[0].rewards.total == 0.5
    assert (await store.totals()).reward_sum == 0.5


async def test_a_reward_comes_too_late_once_the_trainer_has_the_episode(store: Store) -> None:
    """Claimed and settled episodes refuse rewards, each with its own error."""
    await play(store, "ep_1")
    claims = await claim(store)

    with pytest.raises(EpisodeClaimed):
        await store.reward("ep_1", Reward(2.0))
    await store.ack("trainer", [claims[0].group_id], policy(2))
    with pytest.raises(EpisodeSettled, match="trained"):
        await store.reward("ep_1", Reward(2.0))


async def test_of_many_rewards_all_are_recorded_or_none(store: Store) -> None:
    """A list with one reward that is refused changes nothing; the same list without it is recorded."""
    for name in ("ep_1", "ep_2"):
        await store.open(EpisodeSpec(name))
    good = [EpisodeReward(name, Reward(1.0), complete=True) for name in ("ep_1", "ep_2")]
    for bad, refusal in (
        (EpisodeReward("ep_3", Reward(1.0)), NoSuchEpisode),
        (EpisodeReward("ep_1", Reward(1.0, turn_id="t")), NoSuchTurn),
    ):
        with pytest.raises(refusal):
            await store.rewards([*good, bad])
    assert (await store.totals()).reward_count == 0

    keyed = Reward(2.0, "style", idempotency_key="k")
    answers = await store.rewards([*good, *[EpisodeReward("ep_1", keyed)] * 2])

    assert answers[2] == answers[3]
    totals = await store.totals()
    assert (totals.reward_sum, totals.reward_count) == (4.0, 2)
    other = Reward(3.0, "style", idempotency_key="k")
    with pytest.raises(RetryMismatch):
        await store.rewards([EpisodeReward("ep_2", keyed), EpisodeReward("ep_2", other)])
