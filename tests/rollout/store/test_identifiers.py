"""Ids are kept apart, whatever their characters, and records of an older layout are taken over."""

import asyncio
import os
import uuid

import pytest
from redis.asyncio import Redis

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.group import Claim
from rollout.episode.reward import EpisodeReward, Reward
from rollout.errors import StoreTooNew
from rollout.store.store import Store
from tests.profiles import per_profile
from tests.random_ids import random_ids
from tests.rollout.play import claim, commit, own_group, play
from tests.rollout.turns import turn

PARTS = ("turns", "turn_ids", "rewards", "reward_log", "reward_keys", "replies", "reply_keys")


async def keys_of(store: Store, redis_url: str) -> set[str]:
    """The keys of a project, without its prefix."""
    prefix = f"turngate:{{{store.project}}}:"
    async with Redis.from_url(redis_url) as client:
        return {key.decode().removeprefix(prefix) async for key in client.scan_iter(f"{prefix}*")}


@pytest.mark.parametrize("part", PARTS)
async def test_an_id_that_names_a_part_of_another_episode_is_an_episode_of_its_own(
    store: Store, part: str
) -> None:
    """Episode `v:rewards` has no effect on the rewards of `v`, and so for every part and both spellings."""
    await play(store, "v", group="together", size=2, value=0.5)
    before = await store.episode("v")
    for other in (f"v:{part}", f"{part}:v", f".{part}:v"):
        await play(store, other)
    await play(store, "w", group="together", size=2, value=1.0)

    assert await store.episode("v") == before
    claimed = {view.header.id for each in await claim(store) for view in each.episodes}
    assert claimed == {"v", "w", f"v:{part}", f"{part}:v", f".{part}:v"}


async def test_episodes_without_a_group_never_share_one(store: Store) -> None:
    """`x` and `ep_x` have groups of their own, and also if a caller has taken the name in advance."""
    await play(store, "x")
    await play(store, "ep_x")
    await store.open(EpisodeSpec("squatter", group_id=own_group("y"), group_size=1))
    opened = await store.open(EpisodeSpec("y"))

    assert opened.group_id != own_group("y")
    groups = [each.group_id for each in await claim(store)]
    assert sorted(groups) == sorted([own_group("x"), own_group("ep_x")])


async def test_records_of_the_older_layout_are_taken_over(store: Store, redis_url: str) -> None:
    """A store whose keys have the part after the id is brought up to date at the start, and everything in it trains."""
    await play(store, "ep_1", group="g", size=2)
    await store.open(EpisodeSpec("ep_2", group_id="g", group_size=2))
    prefix = f"turngate:{{{store.project}}}:"
    async with Redis.from_url(redis_url) as client:
        for key in await keys_of(store, redis_url):
            kind, _, id_ = key.partition(":")
            if "." in kind:
                record, _, part = kind.partition(".")
                await client.rename(prefix + key, f"{prefix}{record}:{id_}:{part}")
        await client.delete(f"{prefix}layout")

    await store.prepare()
    await store.prepare()

    await play(store, "ep_2", group="g", size=2)
    (claimed,) = await claim(store)
    assert [len(view.turns) for view in claimed.episodes] == [1, 1]
    assert [view.rewards.total for view in claimed.episodes] == [1.0, 1.0]


async def test_a_store_of_a_newer_release_is_refused(store: Store, redis_url: str) -> None:
    """A process does not write into records that it does not know; the error names both layouts."""
    async with Redis.from_url(redis_url) as client:
        await client.set(f"turngate:{{{store.project}}}:layout", 99)

    with pytest.raises(StoreTooNew, match="layout 99"):
        await store.prepare()


async def test_a_new_store_has_todays_layout(redis_url: str) -> None:
    """Preparing an empty store writes the marker, so that it is never taken for an old one."""
    store = Store.connect(redis_url, project=uuid.uuid4().hex)
    await store.prepare()
    await play(store, "ep:1:turns")
    await store.prepare()
    await store.reward("ep:1:turns", Reward(2.0, "style"))

    keys = await keys_of(store, redis_url)
    await store.close()
    assert "ep:ep:1:turns" in keys


async def test_ids_of_any_characters_are_kept_apart(store: Store) -> None:
    """Each id has an episode, a group, a turn, a reward and a key of its own; deleting one takes nothing from another."""
    count, seed = per_profile(ci=600, nightly=10_000), int.from_bytes(os.urandom(4))
    ids = random_ids(seed, count, near=("v", "w"))
    deleted, kept = ids[::2], ids[1::2]

    async def live(number: int, id_: str) -> None:
        spec = EpisodeSpec(id_, group_id=f"{id_}g", group_size=1, task_id=id_, key_id=id_)
        await store.open(spec)
        await commit(store, id_, turn(f"turn_{number}", [number], retry_key=id_), reply=b"r")
        reward = Reward(number, turn_id=f"turn_{number}", idempotency_key=id_)
        await store.rewards([EpisodeReward(id_, reward, complete=True)])

    for start in range(0, count, 200):
        await asyncio.gather(*(live(start + n, id_) for n, id_ in enumerate(ids[start:][:200])))
    for start in range(0, len(deleted), 200):
        await asyncio.gather(*(store.delete(id_) for id_ in deleted[start:][:200]))

    for number, id_ in list(enumerate(ids))[1::2]:
        view = await store.episode(id_)
        assert [made.id for made in view.turns] == [f"turn_{number}"], (seed, id_)
        assert (view.header.task_id, view.header.key_id) == (id_, id_), (seed, id_)
        assert (view.header.group_id, view.rewards.total) == (f"{id_}g", number), (seed, id_)
    claims: list[Claim] = []
    while some := await claim(store, groups=500):
        claims += some
    assert {view.header.id for each in claims for view in each.episodes} == set(kept), seed
    assert len(claims) == len(kept), seed
    assert await store.repair() == 0, seed
