"""Training in the store: an ack trains groups into a policy, and going back to a checkpoint queues them again."""

import asyncio

from rollout.episode.advantages import Credit
from rollout.episode.episode_status import DiscardReason
from rollout.store.store import Store
from tests.rollout.clock import Clock
from tests.rollout.play import claim, own_group, play, policy


async def test_ack_trains_and_records_the_policy_in_one(store: Store) -> None:
    """Repeating it is harmless."""
    await play(store, "ep_1")
    await play(store, "ep_2")
    ids = [c.group_id for c in await claim(store)]

    for _ in range(2):
        await store.ack("trainer", ids, policy(2))

    header = (await store.episode("ep_1")).header
    assert (header.disposition, header.policy_version) == ("trained", 2)
    assert await store.policy() == policy(2)
    assert (await store.totals()).trained == 2


async def test_restoring_a_checkpoint_queues_what_it_has_not_seen(store: Store) -> None:
    """Groups trained into later versions are claimable again; freshness is judged then."""
    for n, trained_into in ((1, 2), (2, 3), (3, 4)):
        await play(store, f"ep_{n}", version=n)
        claims = await claim(store, version=n)
        await store.ack("trainer", [c.group_id for c in claims], policy(trained_into))

    again = await store.restore(2)
    claims = await claim(store, version=3, staleness=0)

    assert set(again) == {own_group("ep_2"), own_group("ep_3")}
    assert [c.group_id for c in claims] == [own_group("ep_3")]
    assert (await store.totals()).dispositions["stale"] == 1
    assert (await store.totals()).trained == 1


async def test_advantages_live_as_long_as_the_training(store: Store) -> None:
    """Advantages arrive with the ack, stay with their episode, and are deleted when its training is undone."""
    await play(store, "ep_1", group="g", size=2)
    await play(store, "ep_2", group="g")
    (claimed,) = await claim(store)
    credit = {"ep_1": Credit(b"four", 1), "ep_2": Credit(bytes(range(256)), 0)}
    before = [episode.advantages for episode in claimed.episodes]
    for again in ({}, {"ep_1": Credit(b"late", 7)}):  # repeating an ack changes nothing
        await store.ack("trainer", ["g"], policy(2), credit=credit | again)
    kept = {name: (await store.episode(name)).advantages for name in credit}
    delivered = (await store.totals()).delivered_tokens

    await store.restore(1)

    assert before == [None, None]
    assert kept == {name: given.advantages for name, given in credit.items()}
    assert (delivered, (await store.totals()).delivered_tokens) == (1, 0)
    assert {(await store.episode(name)).advantages for name in credit} == {None}


async def test_an_episode_left_out_of_its_group_is_discarded(store: Store) -> None:
    """The group trains and its overlong member is discarded with that reason, also after the training is undone."""
    await play(store, "ep_1", group="g", size=2)
    await play(store, "ep_2", group="g")
    await claim(store)
    credit = {"ep_1": Credit(b"four", 1), "ep_2": Credit(b"four", 0, DiscardReason.OVERLONG)}

    await store.ack("trainer", ["g"], policy(2), credit=credit)

    totals = await store.totals()
    assert (totals.trained, totals.discarded[DiscardReason.OVERLONG]) == (1, 1)
    await store.restore(1)
    (again,) = await claim(store)
    assert [episode.header.id for episode in again.episodes] == ["ep_1"]


async def test_a_batch_of_thousands_is_acknowledged_at_once(store: Store) -> None:
    """More groups and advantages than Lua can unpack in one call still make one transaction."""
    await play(store, "ep_1")
    await claim(store)
    credit = {f"ep_{n}": Credit(b"four", 1) for n in range(1, 6000)}

    await store.ack("trainer", [own_group("ep_1")], policy(2), credit=credit)

    assert (await store.episode("ep_1")).advantages == b"four"
    assert (await store.episode("ep_2")) is None


async def test_checkpointed_data_expires_once_the_ledger_knows(store: Store, clock: Clock) -> None:
    """Data is kept until the ledger has the episode and no restore can need it."""
    await play(store, "ep_1")
    await play(store, "ep_2")
    for version in (2, 3):
        claims = await claim(store, groups=1)
        await store.ack("trainer", [claims[0].group_id], policy(version))
    await store.checkpointed(2)
    clock.advance(3601)
    await store.sweep()
    assert await store.episode("ep_1") is not None

    await store.settle_done(await store.settled())
    clock.advance(3601)
    await store.sweep()

    assert await store.episode("ep_1") is None
    assert await store.locate("turn of ep_1") is None
    assert await store.group(own_group("ep_1")) is None
    assert await store.episode("ep_2") is not None


async def test_versions_are_never_given_out_twice(store: Store) -> None:
    """Recording a policy moves the counter beyond it; concurrent calls get different versions."""
    await store.record_policy(policy(0))
    first = await asyncio.gather(*(store.next_version() for _ in range(5)))
    await store.record_policy(policy(9))

    assert sorted(first) == [1, 2, 3, 4, 5]
    assert await store.next_version() == 10


async def test_a_pinned_policy_is_served_until_unpinned(store: Store) -> None:
    """Training records new policies while another one is pinned."""
    await store.record_policy(policy(3))
    await store.pin(policy(1))
    await store.record_policy(policy(4))
    assert (await store.policy(), await store.pinned()) == (policy(1), True)

    await store.unpin()

    assert (await store.policy(), await store.pinned()) == (policy(4), False)
