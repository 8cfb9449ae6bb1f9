"""The episode store as agents and gateways use it: turns are recorded once, rewards count once, calls never block."""

import asyncio

import pytest
from redis.asyncio import Redis

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.episode.reward import Reward
from rollout.episode.trie import Trie
from rollout.errors import (
    EpisodeSealed,
    EpisodeSettled,
    NoSuchEpisode,
)
from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.rollout.clock import Clock
from tests.rollout.play import claim, commit, play, policy
from tests.rollout.turns import output, turn


async def test_an_episode_keeps_what_it_was_opened_with(store: Store, clock: Clock) -> None:
    """Opening an episode again changes nothing, even with another spec."""
    spec = EpisodeSpec("ep_1", "g", 2, task_id="t", metadata_json='{"a": "é"}', key_id="key_1")
    header = await store.open(spec)
    clock.advance(5)

    again = await store.open(EpisodeSpec("ep_1", "other", 7, task_id="else"))

    assert again == header
    assert (header.status, header.group_id, header.task_id) == (EpisodeStatus.OPEN, "g", "t")
    assert (header.metadata_json, header.key_id) == ('{"a": "é"}', "key_1")
    assert header.created_ms == round((clock.now - 5) * 1000)
    assert (await store.totals()).opened == 1


async def test_a_turn_reads_back_and_a_repeated_commit_is_one_turn(store: Store) -> None:
    """A turn id that is committed twice gets the same ordinal and is in the log once."""
    await store.open(EpisodeSpec("ep_1"))
    first, second = (
        turn("a", [1], output([5, 6], version=3)),
        turn("b", [1], output([7], version=2)),
    )

    ordinals = [await commit(store, "ep_1", t) for t in (first, second, first, second)]

    assert ordinals == [0, 1, 0, 1]
    assert await store.turns("ep_1") == [first, second]
    header = (await store.episode("ep_1")).header
    assert (header.num_turns, header.num_trainable_turns, header.num_output_tokens) == (2, 2, 3)
    assert (header.min_version, header.max_version) == (2, 3)
    assert await store.locate("a") == "ep_1"
    assert await store.locate("z") is None


async def test_a_gateway_receives_only_the_turns_it_has_not_seen(store: Store) -> None:
    """A gateway with a cached trie reads only the new turns."""
    spec = EpisodeSpec("ep_1")
    await store.begin(spec, since=0)
    for name in "abc":
        await commit(store, "ep_1", turn(name))

    began = await store.begin(spec, since=2)

    assert len(began.turns) == 1
    assert began.header.num_turns == 3


async def test_a_turn_begun_before_sealing_may_commit_for_a_while(
    store: Store, clock: Clock
) -> None:
    """Within the grace period late turns are recorded, after it they are refused."""
    await store.open(EpisodeSpec("ep_1"))
    await commit(store, "ep_1", turn("a"))
    await store.seal("ep_1")

    clock.advance(30)
    await commit(store, "ep_1", turn("b"))
    clock.advance(1)

    with pytest.raises(EpisodeSealed, match="ep_1 is sealed; open a new one"):
        await commit(store, "ep_1", turn("c"))
    assert [t.id for t in await store.turns("ep_1")] == ["a", "b"]


async def test_sealing_twice_is_sealing_once(store: Store) -> None:
    """Sealing again does not change the outcome."""
    await play(store, "ep_1", value=None)

    first = await store.seal("ep_1", outcome="failed", truncated=True)
    again = await store.seal("ep_1", outcome="succeeded")

    assert first == again
    assert (first.status, first.outcome, first.truncated) == (EpisodeStatus.SEALED, "failed", True)


async def test_an_episode_without_trainable_turns_is_no_signal(store: Store) -> None:
    """An episode without a trainable turn, an aborted one and a side episode are discarded, each with its reason."""
    await store.open(EpisodeSpec("ep_empty"))
    await play(store, "ep_gone", value=None)
    await store.open(EpisodeSpec("ep_side", group_id="g", kind="side"))
    await commit(store, "ep_side", turn("s", kind="side"))

    sealed = [
        await store.seal("ep_empty"),
        await store.seal("ep_gone", outcome="aborted"),
        await store.seal("ep_side"),
    ]

    assert [header.disposition for header in sealed] == ["no_signal", "aborted", "evaluated"]
    assert await store.group("g") is None


async def test_an_episode_whose_turns_never_commit_is_no_signal_after_the_grace(
    store: Store, clock: Clock
) -> None:
    """An episode that is sealed during its only turn waits for that turn, at most the grace period."""
    await store.begin(EpisodeSpec("ep_1"), since=0)

    sealed = await store.seal("ep_1")
    await store.reward("ep_1", Reward(1.0))
    clock.advance(Timings().grace)
    await store.sweep()

    assert (sealed.status, await claim(store)) == (EpisodeStatus.SEALED, [])
    ended = await store.seal("ep_1")
    assert ended.disposition == "no_signal"


async def test_turns_on_an_unknown_episode_are_refused(store: Store) -> None:
    """Every transition names the episode it did not find."""
    calls = [
        commit(store, "ep_9", turn("a")),
        store.seal("ep_9"),
        store.delete("ep_9"),
        store.reward("ep_9", Reward(1.0)),
        store.turns("ep_9"),
        store.reward_history("ep_9"),
    ]
    for call in calls:
        with pytest.raises(NoSuchEpisode, match="ep_9"):
            await call
    assert await store.episode("ep_9") is None


async def test_deleting_takes_the_data_with_it(store: Store) -> None:
    """The header of a deleted episode stays, deleting again changes nothing, and a trained episode is kept."""
    await play(store, "ep_1")
    await play(store, "ep_2")
    claims = await claim(store, groups=1)
    await store.ack("trainer", [claims[0].group_id], policy(2))

    await store.delete("ep_2")
    await store.delete("ep_2")

    view = await store.episode("ep_2")
    assert (view.header.disposition, view.turns, view.rewards.values) == ("deleted", (), {})
    assert await store.locate("turn of ep_2") is None
    with pytest.raises(EpisodeSettled):
        await store.delete("ep_1")


async def test_episodes_are_listed_newest_first_in_pages(store: Store, clock: Clock) -> None:
    """A page ends where the next begins, filters apply, an unknown cursor is an error."""
    for n in range(5):
        await store.open(EpisodeSpec(f"ep_{n}", group_id="g" if n % 2 else None, task_id=f"t{n}"))
        clock.advance(1)
    await store.seal("ep_0")

    page, more = await store.episodes(limit=2)
    rest, none = await store.episodes(after=page[-1].header.id, limit=3)

    assert ([e.header.id for e in page], more) == (["ep_4", "ep_3"], True)
    assert ([e.header.id for e in rest], none) == (["ep_2", "ep_1", "ep_0"], False)
    in_group, _ = await store.episodes(group_id="g")
    assert [e.header.id for e in in_group] == ["ep_3", "ep_1"]
    discarded, _ = await store.episodes(status=EpisodeStatus.DISCARDED)
    assert [e.header.reason for e in discarded] == [DiscardReason.NO_SIGNAL]
    assert [e.header.id for e in (await store.episodes(task_id="t2"))[0]] == ["ep_2"]
    with pytest.raises(NoSuchEpisode):
        await store.episodes(after="ep_9")


async def test_projects_do_not_see_each_other(store: Store) -> None:
    """Two projects on one connection may use the same ids."""
    other = store.of(store.project + "-other")
    await play(store, "ep_1")
    await other.open(EpisodeSpec("ep_1"))

    assert (await other.episode("ep_1")).turns == ()
    assert (await store.totals()).live[EpisodeStatus.REWARDED] == 1


async def test_concurrent_commits_all_land(store: Store) -> None:
    """A hundred concurrent commits on one episode are recorded as a hundred turns."""
    await store.open(EpisodeSpec("ep_1"))
    turns = [turn(f"t{n}", [1, n % 5], output([n])) for n in range(100)]

    ordinals = await asyncio.gather(*(commit(store, "ep_1", t) for t in turns))

    assert sorted(ordinals) == list(range(100))
    logged = await store.turns("ep_1")
    assert Trie(logged).num_tokens == Trie(turns).num_tokens == 1 + 4 + 1 + 100


async def test_a_caller_that_leaves_does_not_disturb_the_others(store: Store) -> None:
    """Cancelling one call of a shared pipeline leaves the rest alone."""
    await store.open(EpisodeSpec("ep_1"))
    calls = [asyncio.ensure_future(commit(store, "ep_1", turn(f"t{n}"))) for n in range(20)]
    await asyncio.sleep(0)
    calls[3].cancel()

    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(answers.pop(3), asyncio.CancelledError)
    assert all(isinstance(answer, int) for answer in answers)


async def test_a_lock_has_one_holder(store: Store) -> None:
    """A held lock is refused, and is free after its holder's block."""
    async with (
        store.lock("swap", lease_seconds=30) as first,
        store.lock("swap", lease_seconds=30) as second,
    ):
        assert (first, second) == (True, False)
    async with store.lock("swap", lease_seconds=30) as third:
        assert third


async def test_a_lock_is_kept_as_long_as_its_holder_lives(store: Store, redis_url: str) -> None:
    """It outlasts its lease while its block runs; that of a holder who died is free when the lease is over."""
    async with store.lock("swap", lease_seconds=0.3):
        await asyncio.sleep(0.7)
        async with store.lock("swap", lease_seconds=0.3) as second:
            assert not second

    async with Redis.from_url(redis_url) as client:
        await client.set(f"turngate:{{{store.project}}}:lock:swap", "a process that dies", px=300)
    async with store.lock("swap", lease_seconds=0.3) as refused:
        assert not refused
    await asyncio.sleep(0.4)
    async with store.lock("swap", lease_seconds=0.3) as free:
        assert free


async def test_a_stored_token_costs_at_most_twelve_bytes(store: Store, redis_url: str) -> None:
    """A 40-turn agent episode, with all its keys, stays within its memory budget in Redis."""
    await store.open(EpisodeSpec("ep_1"))
    for n in range(40):
        context = range(6000 if n == 0 else 750)
        await commit(store, "ep_1", turn(f"chatcmpl-{n:024}", context, output(range(250))))
    async with Redis.from_url(redis_url) as client:
        keys = [key async for key in client.scan_iter(f"turngate:{{{store.project}}}:*")]
        used = sum([await client.memory_usage(key, samples=0) for key in keys])

    tokens = 6000 + 39 * 750 + 40 * 250
    assert used / tokens < 12
