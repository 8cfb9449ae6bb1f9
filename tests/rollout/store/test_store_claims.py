"""The store as the trainer uses it: a group is trained once under a lease, or returns to the queue."""

import asyncio

import pytest

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.episode.group import GroupStatus
from rollout.episode.reward import Reward
from rollout.errors import ClaimLost, Superseded
from rollout.store.store import Store
from tests.rollout.clock import Clock
from tests.rollout.play import claim, commit, own_group, play, policy
from tests.rollout.turns import turn


async def test_a_group_is_ready_when_it_is_whole(store: Store) -> None:
    """Discarded members count towards the size, and do not reach the trainer."""
    await play(store, "ep_1", group="g", size=3)
    await play(store, "ep_2", group="g", value=None)
    await store.seal("ep_2", outcome="aborted")
    assert await claim(store) == []

    await play(store, "ep_3", group="g", value=-1.0)
    (claimed,) = await claim(store)

    assert claimed.group_id == "g"
    assert {e.header.id: e.rewards.total for e in claimed.episodes} == {"ep_1": 1.0, "ep_3": -1.0}


async def test_an_episode_without_a_group_is_a_group_of_one(store: Store) -> None:
    """A group of one is ready when its episode is rewarded."""
    await play(store, "ep_1")

    (claimed,) = await claim(store)

    assert [e.header.id for e in claimed.episodes] == ["ep_1"]


async def test_at_its_deadline_a_group_trains_with_two_or_expires(
    store: Store, clock: Clock
) -> None:
    """At the deadline a group with two rewarded members is ready, one with a single one is discarded."""
    for group, rewarded in (("pair", 2), ("single", 1)):
        for n in range(3):
            await play(
                store, f"ep_{group}{n}", group=group, size=3, value=1.0 if n < rewarded else None
            )
    clock.advance(599)
    await store.sweep()
    assert (await store.group("pair")).status is GroupStatus.OPEN

    clock.advance(1)
    await store.sweep()

    assert (await store.group("pair")).status is GroupStatus.READY
    assert (await store.group("single")).status is GroupStatus.DISCARDED
    assert (await store.totals()).discarded[DiscardReason.EXPIRED] == 1 + 3


async def test_an_idle_episode_seals_itself_if_rewarded_and_expires_if_not(
    store: Store, clock: Clock
) -> None:
    """An idle episode expires, so an agent that died does not block its group."""
    for name in ("ep_1", "ep_2"):
        await play(store, name, value=None)
    clock.advance(1799)
    await store.reward("ep_1", Reward(1.0))
    clock.advance(1)
    await store.sweep()
    assert (await store.episode("ep_2")).header.disposition == "expired"

    clock.advance(1799)
    await store.sweep()

    assert (await store.episode("ep_1")).header.status is EpisodeStatus.REWARDED


async def test_a_stale_group_is_discarded_on_the_way(store: Store) -> None:
    """Staleness is the trainer's version minus the oldest version in the group."""
    await play(store, "ep_old", version=1)
    await play(store, "ep_new", version=3)

    claims = await claim(store, version=4, staleness=1)

    assert [c.group_id for c in claims] == [own_group("ep_new")]
    assert (await store.episode("ep_old")).header.disposition == "stale"


async def test_an_expired_lease_is_claimed_again_and_the_third_loss_is_the_last(
    store: Store, clock: Clock
) -> None:
    """An expired lease returns groups to the queue; after three deliveries a group is discarded as failed."""
    await play(store, "ep_1")
    deliveries = []
    for owner in ("ann", "bob", "cid"):
        deliveries += [c.deliveries for c in await claim(store, owner)]
        assert await claim(store, "eve") == []
        clock.advance(31)

    assert deliveries == [1, 2, 3]
    assert await claim(store) == []
    assert (await store.episode("ep_1")).header.disposition == "failed"


async def test_renewing_keeps_a_lease(store: Store, clock: Clock) -> None:
    """Renewing extends a lease, and ClaimLost names the groups that are lost."""
    await play(store, "ep_1")
    await claim(store, "ann")
    clock.advance(20)
    await store.renew("ann", [own_group("ep_1")], lease_seconds=30)
    clock.advance(20)

    assert await claim(store, "bob") == []
    clock.advance(11)
    assert len(await claim(store, "bob")) == 1
    with pytest.raises(ClaimLost, match=own_group("ep_1")):
        await store.renew("ann", [own_group("ep_1")], lease_seconds=30)


async def test_released_groups_come_back_unharmed(store: Store) -> None:
    """Releases do not count as deliveries, so a group never fails by them."""
    await play(store, "ep_1")
    for _ in range(5):
        (claimed,) = await claim(store)
        await store.release("trainer", [claimed.group_id])

    (claimed,) = await claim(store)

    assert claimed.deliveries == 1


async def test_ack_after_a_lost_lease_changes_nothing(store: Store, clock: Clock) -> None:
    """If one group is lost, an ack changes neither the held groups nor the policy."""
    await store.record_policy(policy(1))
    await play(store, "ep_1")
    await play(store, "ep_2")
    await claim(store, "ann", groups=1)
    clock.advance(31)
    await claim(store, "bob", groups=1)
    await claim(store, "ann", groups=1)

    with pytest.raises(ClaimLost) as lost:
        await store.ack("ann", [own_group("ep_1"), own_group("ep_2")], policy(2))

    assert lost.value.group_ids == (own_group("ep_1"),)
    assert await store.policy() == policy(1)
    assert (await store.totals()).live[EpisodeStatus.CLAIMED] == 2


async def test_discarding_claimed_groups_names_the_reason(store: Store) -> None:
    """Discarding again changes nothing, and a group of another owner is refused."""
    await play(store, "ep_1")
    await claim(store)

    for _ in range(2):
        await store.discard("trainer", [own_group("ep_1")], reason=DiscardReason.OVERLONG)

    assert (await store.totals()).dispositions["overlong"] == 1
    with pytest.raises(ClaimLost):
        await store.discard("trainer", [own_group("ep_9")], reason=DiscardReason.OVERLONG)


async def test_a_paused_project_claims_nothing(store: Store) -> None:
    """Resuming wakes the trainer that waits."""
    await play(store, "ep_1")
    await store.wait_ready(1)
    await store.pause_training()
    assert await claim(store) == []

    waiting = asyncio.create_task(store.wait_ready(20))
    await store.resume_training()

    assert await waiting
    assert len(await claim(store)) == 1


async def test_a_waiting_trainer_wakes_when_a_group_is_ready(store: Store) -> None:
    """Waiting for a ready group blocks instead of polling, and ends at its timeout."""
    assert not await store.wait_ready(0.05)
    waiting = asyncio.create_task(store.wait_ready(20))

    await play(store, "ep_1")

    assert await waiting


async def test_a_group_shows_its_members(store: Store, clock: Clock) -> None:
    """A group shows its members, their statuses and its deadline."""
    await play(store, "ep_1", group="g", size=2)
    await store.open(EpisodeSpec("ep_2", "g"))
    await commit(store, "ep_2", turn("b"))

    view = await store.group("g")

    assert view.members == (("ep_1", EpisodeStatus.REWARDED), ("ep_2", EpisodeStatus.OPEN))
    assert (view.num_rewarded, view.num_sealed, view.size) == (1, 1, 2)
    assert view.deadline_ms == round((clock.now + 600) * 1000)


async def test_a_new_trainer_takes_over_at_once(store: Store) -> None:
    """What a dead trainer held is claimed again without waiting for its lease; stalled and awake again, it can do nothing."""
    await play(store, "ep_1")
    await store.take_over("first")
    held = await claim(store, "first")

    assert await store.take_over("second") == 1
    again = await claim(store, "second")

    assert [c.group_id for c in again] == [c.group_id for c in held]
    assert [c.deliveries for c in again] == [2]
    ids = [c.group_id for c in held]
    with pytest.raises(ClaimLost):
        await store.ack("first", ids, policy(1))
    with pytest.raises(Superseded, match="second has taken over"):
        await claim(store, "first")
    assert await store.take_over("second") == 0
    await store.ack("second", ids, policy(1))


async def test_a_group_that_kills_each_trainer_is_discarded(store: Store) -> None:
    """Taking over counts as a delivery: after the third trainer that died with it the group is discarded as failed."""
    await play(store, "ep_1")
    for name in ("first", "second", "third"):
        await store.take_over(name)
        assert len(await claim(store, name)) == 1
    await store.take_over("fourth")
    assert (await store.totals()).discarded[DiscardReason.FAILED] == 1
