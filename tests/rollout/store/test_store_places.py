"""Places of admission: one key holds its share at most, and whatever shows no life gives its place back."""

import asyncio
import random
import uuid
from contextlib import suppress

import pytest

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.episode.reward import Reward
from rollout.errors import Backlogged, GroupClosed, StoreError
from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.profiles import per_profile
from tests.rollout.clock import Clock
from tests.rollout.play import claim, commit, own_group, play, policy
from tests.rollout.turns import output, turn

LIMITS = {"max_live_episodes": 16, "max_live_episodes_per_key": 8}


async def held(store: Store) -> dict[str, int]:
    totals = await store.totals()
    assert totals.reserved_episodes == sum(totals.places.by_holder.values())
    return dict(totals.places.by_holder)


def spec(
    episode: str, key: str, *, group: str | None = None, size: int | None = None
) -> EpisodeSpec:
    return EpisodeSpec(episode, group, size, key_id=key)


async def chat(store: Store, episode: str, *, key: str = "key_1") -> None:
    """One call of a client that names neither episode nor group."""
    await store.begin(EpisodeSpec(episode, key_id=key, is_named=False), since=0)
    await commit(store, episode, turn(f"turn of {episode}", [1], output([2], version=1)))


async def test_one_key_holds_its_share_at_most(store: Store) -> None:
    """A group that is larger than the share of its key gets the share; others get a first group at once, and no more than
    their fair part of what stays fresh.
    """
    await store.set_training(LIMITS)
    await store.open(spec("ep_1", "hog", group="g", size=64))
    with pytest.raises(Backlogged, match="this key has its share"):
        await store.open(spec("ep_2", "hog"))

    await store.open(spec("ep_3", "other", size=4))
    assert await held(store) == {"hog": 8, "other": 4}
    with pytest.raises(Backlogged, match="enough episodes are waiting"):
        await store.open(spec("ep_4", "other"))
    await store.open(spec("ep_5", "third", size=4))
    with pytest.raises(Backlogged):
        await store.open(spec("ep_6", "fourth"))


async def test_keys_share_what_stays_fresh(store: Store) -> None:
    """As the groups of the first key end, the second gets their places until both hold as many; claimed ones are the trainer's."""
    await store.set_training(LIMITS)
    for number in range(8):
        await play(store, f"ep_{number}")
    await store.open(spec("ep_a", "key_2"))
    claims = await claim(store, groups=2)
    assert await held(store) == {"": 6, "key_2": 1, "trainer": 2}
    for name in ("ep_b", "ep_c"):
        await store.open(spec(name, "key_2"))
    with pytest.raises(Backlogged):
        await store.open(spec("ep_d", "key_2"))

    await store.release("trainer", [claims[0].group_id])
    await store.ack("trainer", [claims[1].group_id], policy(2))
    assert await held(store) == {"": 7, "key_2": 3}
    with pytest.raises(Backlogged):
        await play(store, "ep_9")
    await store.open(spec("ep_d", "key_2"))
    for number in range(4):
        await store.delete(f"ep_{number}" if number != 1 else "ep_7")
    await play(store, "ep_9")


@pytest.mark.parametrize("ending", ["delete", "aborted"])
async def test_an_ended_episode_frees_its_whole_group(store: Store, ending: str) -> None:
    """Once the only member is deleted or aborted, the places of those that never opened are free at once, too."""
    await store.set_training(LIMITS)
    await store.open(spec("ep_1", "hog", group="g", size=8))
    if ending == "delete":
        await store.delete("ep_1")
    else:
        await store.seal("ep_1", outcome="aborted")
    assert await held(store) == {}
    await store.open(spec("ep_2", "hog", size=8))


async def test_a_silent_episode_gives_its_place_back_and_goes_on(
    store: Store, clock: Clock
) -> None:
    """After the time of silence a place is free; the next call is served, and gets a place again if there is room."""
    await store.set_training({"max_live_episodes": 1})
    await store.open(spec("ep_1", "key_1"))
    clock.advance(Timings().silence)
    await store.sweep()
    assert await held(store) == {}

    await store.open(spec("ep_2", "key_1"))
    await store.begin(spec("ep_1", "key_1"), since=0)
    assert await held(store) == {"key_1": 1}
    await store.delete("ep_2")
    await store.begin(spec("ep_1", "key_1"), since=0)
    assert await held(store) == {"key_1": 1}
    assert (await store.episode("ep_1")).header.status is EpisodeStatus.OPEN


async def test_a_turn_in_progress_is_a_sign_of_life(store: Store, clock: Clock) -> None:
    """A long turn keeps its episode's place; one that never ends keeps it for ten times the silence."""
    await store.begin(spec("ep_1", "key_1"), since=0)
    for _ in range(9):
        clock.advance(Timings().silence)
        await store.sweep()
        assert await held(store) == {"key_1": 1}
    clock.advance(Timings().silence)
    await store.sweep()
    assert await held(store) == {}


async def test_a_caller_that_gives_up_is_not_waited_for(store: Store, clock: Clock) -> None:
    """An episode whose turn failed has ten seconds to call again before its place is free."""
    await store.begin(spec("ep_1", "key_1"), since=0)
    await store.withdraw("ep_1", Attempt("a"))
    clock.advance(9)
    await store.sweep()
    assert await held(store) == {"key_1": 1}
    clock.advance(1)
    await store.sweep()
    assert await held(store) == {}


async def test_members_that_never_open_hold_places_for_a_short_time(
    store: Store, clock: Clock
) -> None:
    """A member that goes on does not keep the places of the others, and they still may enter."""
    await store.open(spec("ep_1", "key_1", group="g", size=8))
    clock.advance(Timings().silence / 2)
    await store.begin(spec("ep_1", "key_1"), since=0)
    clock.advance(Timings().silence / 2)
    await store.sweep()
    assert await held(store) == {"key_1": 1}
    await store.open(spec("ep_2", "key_1", group="g"))
    assert await held(store) == {"key_1": 2}


async def test_a_client_that_names_nothing_is_always_served(store: Store) -> None:
    """Its episodes hold no place, however many; one that gets a reward takes a place if there is one."""
    await store.set_training(LIMITS | {"closed": 1})
    for number in range(20):
        await chat(store, f"ep_{number}")
    assert await held(store) == {}

    for number in range(10):
        await store.reward(f"ep_{number}", Reward(1.0), complete=True)
    assert await held(store) == {"key_1": 8}
    assert (await store.totals()).groups["ready"] == 10


async def test_episodes_without_a_place_are_trained_last(store: Store, clock: Clock) -> None:
    """They became ready first and are claimed last; those that the trainer never takes are discarded as stale."""
    await store.set_training({"max_live_episodes": 1})
    await store.open(spec("ep_open", "key_2"))
    for episode in ("ep_1", "ep_2"):
        await chat(store, episode)
        await store.reward(episode, Reward(1.0), complete=True)
    await commit(store, "ep_open", turn("t", [1], output([2], version=1)))
    clock.advance(1)
    await store.reward("ep_open", Reward(1.0), complete=True)

    claims = await claim(store, groups=2)
    assert [c.group_id for c in claims] == [own_group("ep_open"), own_group("ep_1")]
    assert await held(store) == {"trainer": 1}
    clock.advance(Timings().idle)
    await store.sweep()
    assert (await store.episode("ep_2")).header.reason is DiscardReason.STALE


async def test_a_failed_member_ends_the_wait_of_its_group(store: Store, clock: Clock) -> None:
    """It has two seconds to get a reward; then it is discarded as failed, and the group is ready without it."""
    await play(store, "ep_1", group="g", size=3)
    for episode in ("ep_2", "ep_3"):
        await play(store, episode, group="g", value=None)
        await store.seal(episode, outcome="failed")
    await store.reward("ep_3", Reward(-1.0))
    assert (await store.group("g")).status == "open"

    clock.advance(2)
    await store.sweep()
    assert (await store.group("g")).status == "ready"
    assert (await store.episode("ep_2")).header.reason is DiscardReason.FAILED
    assert (await store.episode("ep_3")).header.status is EpisodeStatus.REWARDED


async def test_a_group_without_a_size_is_bounded(store: Store) -> None:
    """Where no size is stated the largest that is allowed holds."""
    for number in range(3):
        await store.open(EpisodeSpec(f"ep_{number}", "g", max_group_size=3))
    with pytest.raises(GroupClosed):
        await store.open(EpisodeSpec("ep_3", "g", max_group_size=3))


@pytest.mark.parametrize("seed", range(per_profile(ci=3, nightly=30)))
async def test_no_key_passes_its_share_whatever_two_gateways_do(
    redis_url: str, clock: Clock, seed: int
) -> None:
    """Racing opens, calls, deletes, failures and silence keep the limits, and when nothing is live nothing is held."""
    project, chance = uuid.uuid4().hex, random.Random(seed)
    stores = [Store.connect(redis_url, project=project, clock=clock) for _ in range(2)]
    await stores[0].set_training(LIMITS)
    opened: list[str] = []

    async def act(store: Store) -> None:
        key = chance.choice(["hog", "hog", "hog", "key_1", "key_2"])
        episode = chance.choice(opened) if opened and chance.random() < 0.6 else f"ep_{len(opened)}"
        opened.append(episode)
        group = chance.choice([None, "g1", "g2", f"g{len(opened)}"])
        asked = spec(episode, key, group=group, size=chance.choice([None, 1, 3, 64]))
        name = f"turn {len(opened)}"
        made = turn(name, [1], output([2], version=1))
        with suppress(StoreError):
            match chance.choice(["open", "open", "turn", "chat", "reward", "fail", "delete", "go"]):
                case "open":
                    await store.open(asked)
                case "turn":
                    await store.begin(asked, since=0)
                    await commit(store, episode, made)
                case "chat":
                    await chat(store, episode, key=key)
                case "reward":
                    await store.reward(episode, Reward(1.0), complete=True)
                case "fail":
                    await store.begin(asked, since=0)
                    await store.withdraw(episode, Attempt(name))
                case "delete":
                    await store.delete(episode)
                case "go":
                    clock.advance(chance.choice([1, 20, 61]))
                    await store.sweep()

    for _ in range(40):
        await asyncio.gather(*(act(stores[number % 2]) for number in range(6)))
        now = await held(stores[0])
        assert sum(now.values()) <= LIMITS["max_live_episodes"]
        assert all(0 < number <= LIMITS["max_live_episodes_per_key"] for number in now.values())

    for episode in set(opened):
        with suppress(StoreError):
            await stores[1].delete(episode)
    assert await held(stores[0]) == {}
    for store in stores:
        await store.close()
