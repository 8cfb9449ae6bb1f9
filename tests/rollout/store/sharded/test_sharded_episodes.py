"""Where episodes lie, and that every process finds them."""

import asyncio
import inspect

import pytest
from redis.asyncio import Redis

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import EpisodeReward, Reward
from rollout.episode.turn import encode_turn
from rollout.errors import (
    Backlogged,
    EpisodeSettled,
    NoSuchEpisode,
    ShardsDiffer,
    TooManyOpenEpisodes,
)
from rollout.store.finding_transitions import Clues
from rollout.store.sharded.sharded_store import ShardedStore, open_store
from rollout.store.store import Store
from tests.rollout.clock import Clock
from tests.rollout.play import play
from tests.rollout.store.sharded.conftest import SHARDS, group_in
from tests.rollout.turns import turn

# Policies, versions and locks are kept in shard 0 alone.
IN_SHARD_0 = {
    *("next_version", "policy", "served_model", "recorded_policy", "record_policy", "pin", "unpin"),
    *("pinned", "history", "published", "published_done", "lock", "signals"),
}
OF_ONE_SHARD = {"connect", "shard", "prepare_shard", "transition", "close", "key_changes"}
OF_ONE_SHARD |= {"repair_slice"}  # each shard has a settler of its own


def test_every_call_of_a_store_is_one_of_all_shards() -> None:
    """Or it belongs to shard 0; one that was forgotten would see a part of the project."""
    names = {name for name, _ in inspect.getmembers(Store) if not name.startswith("_")}
    inherited = {name for name in names if getattr(ShardedStore, name) == getattr(Store, name)}

    assert {name for name in inherited if callable(getattr(Store, name))} == (
        IN_SHARD_0 | OF_ONE_SHARD
    ) - {"connect"} | {"connect"} & inherited


async def test_a_project_is_spread_and_a_group_is_not(store: Store, other: Store) -> None:
    """Groups lie in all shards; the members of one lie together, and another process finds each by its id."""
    for number in range(12):
        await play(store, f"ep_{number}", group=f"grp_{number % 6}", size=2)

    counts = [(await shard.totals()).opened for shard in store.shards]
    assert all(counts)
    assert sum(counts) == 12 == (await other.totals()).opened
    for number in range(6):
        view = await other.group(f"grp_{number}")
        assert view is not None
        assert len(view.members) == 2
        assert len(await other.turns(f"ep_{number}")) == 1
    assert await other.locate("turn of ep_7") == "ep_7"
    with pytest.raises(NoSuchEpisode):
        await other.turns("ep_99")


async def test_two_groups_that_open_one_episode_get_one(store: Store, other: Store) -> None:
    """Whoever comes first decides; the other one gets the same episode, or is told to call again."""
    for number in range(10):
        specs = [EpisodeSpec(f"ep_{number}", group_id=group_in(shard)) for shard in (1, 2)]
        answers = await asyncio.gather(
            store.open(specs[0]), other.open(specs[1]), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(error, Backlogged) for error in refused)
        groups = {a.group_id for a in answers if not isinstance(a, BaseException)}
        assert len(groups) == 1
    assert (await store.totals()).opened == 10


async def test_an_id_that_comes_back_in_another_shard_settles_later(
    store: Store, clock: Clock, redis_url: str
) -> None:
    """The ledger replaces a row only by one with a larger sequence."""
    for number in range(5):
        await play(store, f"ep_{number}", group=group_in(1), size=5)
    for number in range(5):
        await store.delete(f"ep_{number}")
    *_, before = await store.settled()
    await store.settle_done(await store.settled())
    clock.now += 4000
    await store.sweep()
    assert await store.episode(before.header.id) is None
    async with Redis.from_url(redis_url) as client:  # they expire 20 seconds after the opening
        await client.delete(*await client.keys(f"turngate:{{{store.project}*found.claim:*"))

    await play(store, before.header.id, group=group_in(2), size=1)
    await store.delete(before.header.id)

    (after,) = await store.settled()
    assert after.sequence > before.sequence


async def test_rewards_of_several_shards_are_all_or_none(store: Store) -> None:
    """All are checked before any is recorded."""
    for shard in range(SHARDS):
        await play(store, f"ep_{shard}", group=group_in(shard), size=2, value=None)
    await store.delete("ep_2")
    given = [EpisodeReward(f"ep_{shard}", Reward(1.0)) for shard in range(SHARDS)]

    with pytest.raises(EpisodeSettled):
        await store.rewards(given)
    assert [await store.reward_history(f"ep_{n}") for n in range(2)] == [[], []]

    answers = await store.rewards(given[::-1][1:])
    assert [answer.episode_id for answer in answers] == ["ep_1", "ep_0"]


async def test_pages_list_all_shards_in_the_order_of_time(store: Store, clock: Clock) -> None:
    """Each episode once, the newest first, also of those that were opened at one moment."""
    for number in range(20):
        await store.open(EpisodeSpec(f"ep_{number}"))
        clock.now += number % 2
    whole, _ = await store.episodes(limit=100)
    paged, after, has_more = [], "", True
    while has_more:
        page, has_more = await store.episodes(limit=3, after=after)
        paged += page
        after = page[-1].header.id

    assert [each.header.id for each in paged] == [each.header.id for each in whole]
    assert len(paged) == 20


async def test_a_conversation_goes_on_in_another_shard(store: Store, other: Store) -> None:
    """What is kept of its turns is read from all shards, in order."""
    before = ""
    for number in range(6):
        made = turn(f"turn_{number}")
        spec = EpisodeSpec(f"ep_{number}", key_id="k", group_id=group_in(number % 3))
        await store.open(spec)
        await store.commit(
            spec.id, made, encoded=encode_turn(made), continues=before, messages=b"%d" % number
        )
        before = made.id

    found, single = await other.conversation("k", "turn_5", turns=["turn_2", "none", "turn_4"])

    assert found == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert single == [b"2", None, b"4"]
    assert await other.conversation("other", "turn_5") == (None, [])


async def test_words_find_the_longest_conversation_of_any_shard(store: Store, other: Store) -> None:
    """Shorter ones in other shards are passed over."""
    for number in range(6):
        made = turn(f"turn_{number}")
        await store.open(EpisodeSpec(f"ep_{number}", key_id="k", is_named=False))
        words = ("k", f"w{number}", f"o{number}")
        await store.commit(f"ep_{number}", made, encoded=encode_turn(made), said=words)
    said = tuple((f"w{number}", f"o{number}") for number in reversed(range(6)))

    assert await other.find(Clues("k", words=said), otherwise="new") == ("ep_5", "words")
    assert await other.find(Clues("k", words=said[3:]), otherwise="new") == ("ep_2", "words")
    assert await other.find(Clues("x", words=said), otherwise="new") == ("new", "new")


async def test_free_places_go_to_the_shard_where_a_caller_waits(store: Store) -> None:
    """All places of the project can be taken in one shard, and no more than all."""
    await store.set_training({"max_live_episodes": 6, "max_live_episodes_per_key": 6})
    for number in range(3):
        await store.open(EpisodeSpec(f"ep_{number}", group_id=group_in(0), group_size=3))
    await store.open(EpisodeSpec("ep_4", group_id="grp_of_three", group_size=3))
    for shard in range(SHARDS):
        with pytest.raises(Backlogged):
            await store.open(EpisodeSpec(f"one more in {shard}", group_id=f"{group_in(shard)}_"))

    totals = await store.totals()
    assert (totals.reserved_episodes, totals.places.limit) == (6, 6)
    assert (await store.training())["max_live_episodes"] == "6"


async def test_a_key_has_so_many_open_episodes_in_all_shards(store: Store) -> None:
    """Not so many in each."""
    for number in range(4):
        await store.open(EpisodeSpec(f"ep_{number}", key_id="k", max_open_episodes=4))

    with pytest.raises(TooManyOpenEpisodes, match="may have 4"):
        await store.open(EpisodeSpec("ep_4", key_id="k", max_open_episodes=4))


async def test_another_number_of_shards_is_refused_while_episodes_live(
    store: Store, redis_url: str, clock: Clock
) -> None:
    """The message names both numbers and the setting; a project without episodes takes any number."""
    await store.open(EpisodeSpec("ep_1", group_id=group_in(2)))
    for number in (1, 2, 5):
        wrong = open_store(redis_url, project=store.project, clock=clock, num_shards=number)
        with pytest.raises(ShardsDiffer, match=f"3 shards and TURNGATE_STORE_SHARDS is {number}"):
            await wrong.prepare()
        await wrong.close()

    await store.delete("ep_1")
    await store.settle_done(await store.settled())
    right = open_store(redis_url, project=store.project, clock=clock, num_shards=5)
    await right.prepare()
    await right.open(EpisodeSpec("ep_2"))
    with pytest.raises(ShardsDiffer):
        await store.prepare()
    await right.close()
