"""The deadlines that a commit moves, though it writes only when it was."""

import redis

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec
from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.rollout.clock import Clock
from tests.rollout.play import commit
from tests.rollout.turns import turn

TIMINGS = Timings()


async def disposition(store: Store, episode_id: str) -> str:
    view = await store.episode(episode_id)
    assert view is not None
    return view.header.disposition or ""


async def test_an_episode_ends_when_its_last_commit_is_old(store: Store, clock: Clock) -> None:
    """It ends at that second and not before, and each sweep names the time at which the next one is due."""
    await store.begin(EpisodeSpec("ep_1", is_named=False), since=0)
    clock.advance(TIMINGS.idle - 1)
    await commit(store, "ep_1", turn("t1"))
    ends = clock() + TIMINGS.idle

    clock.advance(1)
    assert await store.sweep() == ends
    clock.advance(TIMINGS.idle - 2)
    assert await store.sweep() == ends
    assert await disposition(store, "ep_1") == ""

    clock.advance(1)
    await store.sweep()
    assert await disposition(store, "ep_1") == "expired"


async def test_a_failed_turn_leaves_the_deadline_of_the_commit_before(
    store: Store, clock: Clock
) -> None:
    """A withdrawal does not shorten the time that the last commit gave its episode."""
    await store.begin(EpisodeSpec("ep_1", is_named=False), since=0)
    clock.advance(TIMINGS.idle / 2)
    await commit(store, "ep_1", turn("t1"))
    clock.advance(1)
    await store.begin(EpisodeSpec("ep_1", is_named=False), since=1, attempt=Attempt("a"))
    await store.withdraw("ep_1", Attempt("a"))

    clock.advance(TIMINGS.idle - 2)
    await store.sweep()
    assert await disposition(store, "ep_1") == ""

    clock.advance(1)
    await store.sweep()
    assert await disposition(store, "ep_1") == "expired"


async def test_of_two_commits_the_later_one_ends_its_episode_later(
    store: Store, clock: Clock
) -> None:
    """Deadlines that are due together are handled in their order, not in that of their openings."""
    for name in ("ep_1", "ep_2"):
        await store.begin(EpisodeSpec(name, is_named=False), since=0)
    for name in ("ep_2", "ep_1"):
        clock.advance(1)
        await commit(store, name, turn(f"{name}.t1"))

    clock.advance(2 * TIMINGS.idle)
    await store.sweep()

    assert [each.header.id for each in await store.settled()] == ["ep_2", "ep_1"]


async def test_a_damaged_time_of_the_last_commit_keeps_no_episode_open(
    store: Store, clock: Clock, redis_url: str
) -> None:
    """A time that no clock can have said moves no deadline."""
    await store.begin(EpisodeSpec("ep_1", is_named=False), since=0)
    await commit(store, "ep_1", turn("t1"))
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"turngate:{{{store.project}}}:ep:ep_1", "committed", "9" * 40)

    clock.advance(TIMINGS.idle)
    await store.sweep()

    assert await disposition(store, "ep_1") == "expired"
