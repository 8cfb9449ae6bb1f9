"""A batch from several shards is trained once and whole, wherever its trainer dies."""

import pytest

from rollout.errors import ClaimLost, LineageLeft, Superseded
from rollout.store.store import Store
from tests.rollout.clock import Clock
from tests.rollout.play import claim, play, policy
from tests.rollout.store.sharded.conftest import SHARDS, group_in

GROUPS = [group_in(shard) for shard in range(SHARDS)]


async def ready_in_each(store: Store, clock: Clock) -> None:
    """One group in each shard, the one in the last shard first."""
    for shard in reversed(range(SHARDS)):
        await play(store, f"ep_{shard}", group=GROUPS[shard], size=1)
        clock.now += 1


async def statuses(store: Store) -> set[str]:
    views = [await store.group(group) for group in GROUPS]
    return {view.status.value for view in views if view is not None}


async def test_groups_are_claimed_oldest_first(store: Store, clock: Clock) -> None:
    """Whichever shards they lie in, and no more than were asked for."""
    await ready_in_each(store, clock)

    first = await claim(store, groups=2)
    second = await claim(store, groups=2)

    assert [each.group_id for each in first] == [GROUPS[2], GROUPS[1]]
    assert [each.group_id for each in second] == [GROUPS[0]]


@pytest.mark.parametrize("num_marked", [0, 1, 2])
async def test_a_trainer_that_dies_within_ack_has_trained_nothing(
    store: Store, other: Store, clock: Clock, num_marked: int
) -> None:
    """Shards that it marked, and those that it did not reach, are all queued again when the next trainer takes over."""
    await store.record_policy(policy(0))
    await store.take_over("ann")
    await ready_in_each(store, clock)
    await claim(store, "ann")
    for shard in range(1, 1 + num_marked):
        marks = ("ann", 1, 1, GROUPS[shard])
        await store.shards[shard].transition("mark_trained", *marks)

    assert await other.take_over("bob") == SHARDS
    assert await statuses(other) == {"ready"}
    with pytest.raises(ClaimLost):
        await store.ack("ann", GROUPS, policy(1))
    assert sorted(c.group_id for c in await claim(other, "bob")) == sorted(GROUPS)
    await other.ack("bob", GROUPS, policy(2).__class__(2, "/w", 0, "digest", 7))

    assert await statuses(other) == {"trained"}
    assert {e.header.policy_version for e in await other.settled()} == {2}


async def test_a_trainer_that_dies_after_the_policy_was_recorded_has_trained_all(
    store: Store, other: Store, clock: Clock
) -> None:
    """Taking over queues nothing again, and a late repeat of the call by the old trainer changes nothing."""
    await store.record_policy(policy(0))
    await ready_in_each(store, clock)
    await claim(store, "ann")
    await store.ack("ann", GROUPS, policy(1))
    await store.ack("ann", GROUPS, policy(1))

    assert await other.take_over("bob") == 0
    await play(other, "ep_next")
    (later,) = await claim(other, "bob")
    await other.ack("bob", [later.group_id], policy(2))
    with pytest.raises(LineageLeft):
        await store.ack("ann", GROUPS, policy(1))

    assert await statuses(other) == {"trained"}
    assert {e.header.policy_version for e in await other.settled()} == {1, 2}


@pytest.mark.parametrize("lost", range(SHARDS))
async def test_a_batch_with_a_lost_claim_is_not_trained(
    store: Store, clock: Clock, lost: int
) -> None:
    """In whichever shard the claim was lost, no other shard keeps a mark and no policy is recorded."""
    await store.record_policy(policy(0))
    await ready_in_each(store, clock)
    await claim(store, "ann")
    marked = (lost + 1) % SHARDS
    if marked:  # an earlier try of the same call got so far
        await store.shards[marked].transition("mark_trained", "ann", 1, 1, GROUPS[marked])
    await store.shards[lost].release("ann", [GROUPS[lost]])

    with pytest.raises(ClaimLost, match=GROUPS[lost]):
        await store.ack("ann", GROUPS, policy(1))

    assert "trained" not in await statuses(store)
    assert (await store.totals()).trained == 0
    recorded = await store.recorded_policy()
    assert recorded is not None
    assert recorded.version == 0


async def test_a_superseded_trainer_records_no_policy(
    store: Store, other: Store, clock: Clock
) -> None:
    """Also if none of its groups lies in shard 0, and the new trainer has not reached the others yet."""
    await store.record_policy(policy(0))
    await store.take_over("ann")
    await ready_in_each(store, clock)
    await claim(store, "ann")
    await other.shards[0].take_over("bob")

    with pytest.raises(ClaimLost):
        await store.ack("ann", GROUPS[1:], policy(1))
    with pytest.raises(Superseded):
        await claim(store, "ann")

    recorded = await store.recorded_policy()
    assert recorded is not None
    assert recorded.version == 0
    assert "trained" not in await statuses(store)


async def test_a_ready_group_in_any_shard_wakes_the_trainer(store: Store) -> None:
    """It waits on all shards at once."""
    for shard in range(SHARDS):
        await play(store, f"ep_{shard}", group=GROUPS[shard], size=1)
        assert await store.wait_ready(30)
        assert [each.group_id for each in await claim(store)] == [GROUPS[shard]]
