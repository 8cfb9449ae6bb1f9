"""Admission: places are reserved for whole groups, and a refusal says how long to wait."""

import pytest

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import EpisodeStatus
from rollout.errors import Backlogged, GroupClosed
from rollout.store.store import Store
from tests.rollout.play import claim, play, policy


async def test_new_groups_wait_at_the_door_and_members_always_enter(store: Store) -> None:
    """Admission reserves whole groups; side episodes never count; training makes room."""
    await store.set_training({"max_live_episodes": 3})
    await play(store, "ep_1", group="g", size=2)
    await play(store, "ep_3")

    with pytest.raises(Backlogged):
        await store.open(EpisodeSpec("ep_4"))
    await play(store, "ep_2", group="g")
    await store.open(EpisodeSpec("ep_side", kind="side"))

    claims = await claim(store)
    await store.ack("trainer", [c.group_id for c in claims], policy(2))
    assert (await store.open(EpisodeSpec("ep_4"))).status is EpisodeStatus.OPEN


@pytest.mark.parametrize(
    ("step_seconds", "wait"), [(0.4, 1.0), (25, 2.5), (90, 5.0)], ids=["fast", "usual", "slow"]
)
async def test_a_refused_caller_does_not_sleep_through_the_next_step(
    store: Store, step_seconds: float, wait: float
) -> None:
    """A refused caller waits a tenth of the time between two steps, from one second to five."""
    await store.set_training({"max_live_episodes": 1, "step_seconds": step_seconds})
    await store.open(EpisodeSpec("ep_1"))
    with pytest.raises(Backlogged) as refusal:
        await store.open(EpisodeSpec("ep_2"))
    assert refusal.value.retry_after == wait


async def test_a_caller_that_waits_for_the_next_policy_is_told_so(store: Store) -> None:
    """Synchronous training admits nothing while it makes a policy, which takes seconds, however long a step is."""
    await store.set_training({"max_live_episodes": 9, "closed": 1, "step_seconds": 90})

    with pytest.raises(Backlogged, match="makes the next policy now; retry in 1 seconds"):
        await store.open(EpisodeSpec("ep_1"))
    await store.set_training({"closed": 0})
    assert (await store.open(EpisodeSpec("ep_1"))).status is EpisodeStatus.OPEN


async def test_a_full_group_is_closed(store: Store) -> None:
    """The first size that is stated is the group's size."""
    await store.open(EpisodeSpec("ep_1", "g"))
    await store.open(EpisodeSpec("ep_2", "g", 2))

    with pytest.raises(GroupClosed, match="g takes no more"):
        await store.open(EpisodeSpec("ep_3", "g", 9))
    assert (await store.group("g")).size == 2
