"""Repeated calls in the store: one attempt holds the lease of a call, and its reply answers the others."""

import pytest

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec, EpisodeSummary, HistoryPolicy
from rollout.episode.episode_status import EpisodeStatus
from rollout.episode.reward import Reward
from rollout.episode.turn import encode_turn
from rollout.errors import (
    AttemptSuperseded,
    EpisodeSealed,
    RetryMismatch,
)
from rollout.store.store import Store
from tests.rollout.clock import Clock
from tests.rollout.play import commit
from tests.rollout.turns import turn


def repeat(retry_key: str, digest: str, *, by: str = "again") -> Attempt:
    return Attempt(by, retry_key, digest, is_repeat=True)


async def test_a_retried_call_gets_the_recorded_reply(store: Store) -> None:
    """The same key and digest get the recorded reply, also after sealing; another digest is refused."""
    await store.open(EpisodeSpec("ep_1"))
    await commit(store, "ep_1", turn("a", retry_key="r"), reply=b"hello")
    digest = turn("a", retry_key="r").body_digest
    await store.seal("ep_1")

    began = await store.begin(EpisodeSpec("ep_1"), since=0, attempt=repeat("r", digest))

    assert began.reply == b"hello"
    with pytest.raises(RetryMismatch, match="r was used before"):
        await store.begin(EpisodeSpec("ep_1"), since=0, attempt=repeat("r", "else"))
    with pytest.raises(EpisodeSealed):
        await store.begin(EpisodeSpec("ep_1"), since=0, attempt=repeat("new", digest))


async def test_only_the_latest_replies_are_kept(store: Store) -> None:
    """A long episode does not store every answer twice."""
    await store.open(EpisodeSpec("ep_1"))
    for n in range(33):
        await commit(store, "ep_1", turn(f"t{n}", retry_key=f"r{n}"), reply=b"x")
    spec = EpisodeSpec("ep_1")

    digests = {f"r{n}": turn("t", retry_key=f"r{n}").body_digest for n in (0, 1)}
    began = [
        await store.begin(spec, since=33, attempt=repeat(key, digest))
        for key, digest in digests.items()
    ]

    assert [b.reply for b in began] == [None, b"x"]


async def test_large_replies_are_kept_while_they_are_few(store: Store) -> None:
    """Only the latest 128 KB of replies are kept; the latest reply is kept at any size."""
    spec, sizes = EpisodeSpec("ep_1"), [50_000, 50_000, 50_000, 200_000]
    await store.open(spec)
    kept = []
    for number, size in enumerate(sizes):
        made = turn(f"t{number}", retry_key=f"r{number}")
        await commit(store, "ep_1", made, reply=b"x" * size)
        found = [
            await store.begin(spec, since=9, attempt=repeat(f"r{n}", f"digest of r{n}"))
            for n in range(number + 1)
        ]
        kept.append([n for n, began in enumerate(found) if began.reply])

    assert kept == [[0], [0, 1], [1, 2], [3]]


async def test_a_repeat_waits_for_the_attempt_that_is_sampled(store: Store) -> None:
    """While one attempt holds the lease of a call, a repeat begins nothing; after the commit it gets the reply."""
    spec = EpisodeSpec("ep_1")
    made = turn("a", retry_key="r")
    first = repeat("r", made.body_digest, by="a")
    await store.begin(spec, since=0, attempt=first)
    assert not await store.renew_attempt("ep_1", first, has_begun=True)

    waiting = await store.begin(spec, since=0, attempt=repeat("r", made.body_digest, by="b"))

    assert waiting.is_being_sampled
    assert await store.renew_attempt("ep_1", first, has_begun=True)  # somebody waits for it now
    with pytest.raises(RetryMismatch):
        await store.begin(spec, since=0, attempt=repeat("r", "else", by="b"))
    await store.commit("ep_1", made, encoded=encode_turn(made), attempt=first, reply=b"hello")
    answered = await store.begin(spec, since=0, attempt=repeat("r", made.body_digest, by="b"))
    assert (answered.reply, answered.is_being_sampled) == (b"hello", False)


async def test_a_withdrawn_attempt_leaves_the_call_to_its_repeat(store: Store) -> None:
    """An attempt that fails ends its lease, so that a repeat samples at once."""
    spec, first = EpisodeSpec("ep_1"), repeat("r", "d", by="a")
    await store.begin(spec, since=0, attempt=first)
    await store.withdraw("ep_1", first)
    assert not (await store.begin(spec, since=0, attempt=repeat("r", "d"))).is_being_sampled


async def test_an_attempt_that_lost_its_lease_is_not_recorded(store: Store, clock: Clock) -> None:
    """A gateway that stalls for longer than its lease cannot commit a second reply to a call that a repeat answered."""
    spec, made, late = EpisodeSpec("ep_1"), turn("b", retry_key="r"), turn("a", retry_key="r")
    stalled, taker = (repeat("r", made.body_digest, by=by) for by in "ab")
    await store.begin(spec, since=0, attempt=stalled)
    clock.advance(16)
    assert not (await store.begin(spec, since=0, attempt=taker)).is_being_sampled
    await store.commit("ep_1", made, encoded=encode_turn(made), attempt=taker, reply=b"hello")

    with pytest.raises(AttemptSuperseded):
        await store.commit("ep_1", late, encoded=encode_turn(late), attempt=stalled, reply=b"no")

    assert await store.turns("ep_1") == [made]


@pytest.mark.parametrize("by", ["the same attempt", "the next attempt"])
async def test_a_call_that_is_begun_twice_is_one_turn_in_progress(
    store: Store, clock: Clock, by: str
) -> None:
    """After a lost answer, or at another gateway after the first one died, sealing waits for one turn and not for two."""
    call = Attempt("the same attempt", "r", "digest")
    await store.begin(EpisodeSpec("ep_1"), since=0, attempt=call)
    clock.advance(16)  # the lease expired

    await store.begin(EpisodeSpec("ep_1"), since=0, attempt=repeat("r", "digest", by=by))
    await store.withdraw("ep_1", Attempt(by, "r", "digest"))
    await store.seal("ep_1")

    assert (await store.episode("ep_1")).header.disposition == "no_signal"


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_an_attempt_that_reads_turns_anew_is_one_turn_in_progress(
    store: Store, *, is_sealed: bool
) -> None:
    """It has no retry key by which the store could know it, so it says in which episode it has begun; sealing waits for it."""
    spec, attempt = EpisodeSpec("ep_1"), Attempt("a")
    begun = await store.begin(spec, since=0, attempt=attempt)
    if is_sealed:
        await store.seal("ep_1")

    await store.begin(spec, since=0, attempt=attempt, begun_in=begun.header)
    await store.withdraw("ep_1", attempt)
    await store.seal("ep_1")

    assert (await store.episode("ep_1")).header.disposition == "no_signal"


async def test_an_attempt_reads_turns_anew_in_an_episode_that_was_rewarded(store: Store) -> None:
    """Its turn is recorded in the grace period, so it may ask again for the turns before it."""
    spec, attempt, late = EpisodeSpec("ep_1"), Attempt("late"), turn("late")
    await store.open(spec)
    begun = await store.begin(spec, since=0, attempt=attempt)
    first = turn("first")
    await commit(store, "ep_1", first)
    await store.reward("ep_1", Reward(1.0), complete=True)
    assert (await store.episode("ep_1")).header.status is EpisodeStatus.REWARDED

    again = await store.begin(spec, since=0, attempt=attempt, begun_in=begun.header)
    await store.commit("ep_1", late, encoded=encode_turn(late), attempt=attempt)

    assert again.turns == [encode_turn(first)]
    assert await store.turns("ep_1") == [first, late]


async def test_an_attempt_begins_again_in_another_episode_of_that_id(store: Store) -> None:
    """Its first begin is gone with the episode that was deleted, so the new one waits for its turn from now on."""
    opened = await store.open(EpisodeSpec("ep_1"))
    gone = EpisodeSummary("ep_1", opened.created_ms - 1, HistoryPolicy.STICKY, 0)

    await store.begin(EpisodeSpec("ep_1"), since=0, attempt=Attempt("a"), begun_in=gone)
    await store.seal("ep_1")

    assert (await store.episode("ep_1")).header.status is EpisodeStatus.SEALED


async def test_an_attempt_that_has_begun_is_told_of_a_discarded_episode(store: Store) -> None:
    """It cannot be recorded there any more."""
    spec, attempt = EpisodeSpec("ep_1"), Attempt("a")
    begun = await store.begin(spec, since=0, attempt=attempt)
    await store.delete("ep_1")

    with pytest.raises(EpisodeSealed):
        await store.begin(spec, since=0, attempt=attempt, begun_in=begun.header)
