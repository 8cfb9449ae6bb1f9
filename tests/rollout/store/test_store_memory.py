"""What Redis keeps in memory only, so that a turn waits for the disk once: a crash forgets it, and nothing follows from that."""

import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import EpisodeStatus
from rollout.episode.turn import encode_turn
from rollout.errors import AttemptSuperseded
from rollout.store.limit_transitions import CallLimits
from rollout.store.store import Store
from tests.redis_server import KillableRedis
from tests.rollout.clock import Clock
from tests.rollout.play import commit
from tests.rollout.turns import output, turn

SPEC = EpisodeSpec("ep_1")


@pytest.fixture(scope="module")
def server() -> Iterator[KillableRedis]:
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as directory:
        server = KillableRedis(Path(directory))
        yield server
        server.kill()


@pytest.fixture
async def store(
    server: KillableRedis, clock: Clock, request: pytest.FixtureRequest
) -> AsyncIterator[Store]:
    """A store whose episode `ep_1` has a turn that was committed just now."""
    store = Store.connect(server.url, project=request.node.name, clock=clock)
    await store.open(SPEC)
    await commit(store, "ep_1", turn("first"))
    yield store
    await store.close()


def crash(server: KillableRedis) -> None:
    server.kill()
    server.start()


def header(server: KillableRedis, store: Store) -> dict[bytes, bytes]:
    with redis.Redis.from_url(server.url) as client:
        return dict(client.hgetall(f"turngate:{{{store.project}}}:ep:ep_1"))


def bytes_on_disk(server: KillableRedis) -> int:
    with redis.Redis.from_url(server.url) as client:
        return int(client.info("persistence")["aof_current_size"])


def attempt(by: str, key: str = "call") -> Attempt:
    return Attempt(by, key, "digest", is_repeat=True)


async def record(store: Store, by: Attempt, *, since: int = 1) -> int:
    """Commit the turn of an attempt, whose reply is its id."""
    made = turn(f"turn of {by.id}", [1], output([2]))
    return await store.commit(
        "ep_1", made, encoded=encode_turn(made), attempt=by, since=since, reply=by.id.encode()
    )


async def test_a_later_turn_begins_without_the_disk(server: KillableRedis, store: Store) -> None:
    """Its begin and its lease's renewal write nothing to the file, and are there all the same."""
    size = bytes_on_disk(server)
    await store.begin(SPEC, since=1, attempt=attempt("a"))
    waiting = await store.begin(SPEC, since=1, attempt=attempt("b"))

    assert await store.renew_attempt("ep_1", attempt("a"), has_begun=True)
    assert waiting.is_being_sampled
    assert header(server, store)[b"begun"] == b"2"
    assert bytes_on_disk(server) == size


async def test_a_limited_call_is_counted_without_the_disk(
    server: KillableRedis, store: Store
) -> None:
    """What a key used in the last minute may be forgotten by a crash: its minute then starts anew."""
    limits = CallLimits("key_1", requests=1, tokens=1000, concurrent=1)
    size = bytes_on_disk(server)
    await store.start_call(limits, "call")
    refused = await store.start_call(limits, "another")

    assert refused.refused_by
    assert bytes_on_disk(server) == size
    crash(server)
    assert not (await store.start_call(limits, "another")).refused_by


async def test_what_is_mended_in_memory_is_mended_on_disk(
    server: KillableRedis, store: Store
) -> None:
    """A begin that meets a damaged record ends the episode for good."""
    with redis.Redis.from_url(server.url) as client:
        client.set(f"turngate:{{{store.project}}}:ep.leases:ep_1", "garbage")
    await store.begin(SPEC, since=1, attempt=Attempt("a", "call", "digest"))
    crash(server)

    assert (await store.seal("ep_1")).disposition == "failed"


@pytest.mark.parametrize("of", ["a new episode", "a held-out episode", "an episode after a pause"])
async def test_a_begin_that_must_not_be_forgotten_is_on_disk(
    server: KillableRedis, store: Store, clock: Clock, of: str
) -> None:
    """Sealing waits for the first trainable turn, and deadlines move that are not as good as new."""
    spec = SPEC
    if of == "an episode after a pause":
        clock.advance(15)
    else:
        spec = EpisodeSpec(of, kind="side" if of == "a held-out episode" else "train")
        await store.open(spec)
        if spec.kind == "side":
            await commit(store, of, turn("held out", kind="side"))
    size = bytes_on_disk(server)
    await store.begin(spec, since=0, attempt=attempt("a"))

    assert bytes_on_disk(server) > size
    crash(server)
    assert (await store.begin(spec, since=0, attempt=attempt("b"))).is_being_sampled


async def test_sealing_waits_after_a_crash_for_the_only_turn(
    server: KillableRedis, store: Store
) -> None:
    """An episode that is sealed while its first turn is sampled keeps that turn, although Redis died."""
    await store.begin(EpisodeSpec("ep_2"), since=0, attempt=attempt("a"))
    crash(server)

    assert (await store.seal("ep_2")).status is EpisodeStatus.SEALED
    assert await commit(store, "ep_2", turn("only")) == 0


@pytest.mark.parametrize("rewrites", [False, True])
async def test_a_commit_counts_what_a_crash_forgot(
    server: KillableRedis, store: Store, *, rewrites: bool
) -> None:
    """Whether the file was rewritten in between or not, no fewer turns were begun than committed, and none is left over."""
    for by in ("a", "b", "c"):
        await store.begin(SPEC, since=1, attempt=attempt(by, by))
    if rewrites:
        rewrite(server)
    crash(server)
    begun = int(header(server, store)[b"begun"])
    for by in ("a", "b"):
        await record(store, attempt(by, by))
    await store.withdraw("ep_1", attempt("c", "c"))
    crash(server)

    assert begun == (4 if rewrites else 1)
    assert header(server, store)[b"begun"] == header(server, store)[b"turns"] == b"3"


def rewrite(server: KillableRedis) -> None:
    """Let Redis write its file anew, from memory."""
    with redis.Redis.from_url(server.url) as client:
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)


async def test_a_forgotten_lease_is_written_again(server: KillableRedis, store: Store) -> None:
    """The attempt that goes on renews it, and a repeat of its call waits again."""
    await store.begin(SPEC, since=1, attempt=attempt("a"))
    crash(server)
    await store.renew_attempt("ep_1", attempt("a"), has_begun=True)

    assert (await store.begin(SPEC, since=1, attempt=attempt("b"))).is_being_sampled


async def test_the_lease_of_an_attempt_that_ended_is_not_written_again(store: Store) -> None:
    """A renewal that comes late makes nobody wait for an attempt that was recorded, withdrawn or abandoned."""
    ended = {"recorded": b"reply", "abandoned": b"", "withdrawn": None}
    for by, reply in ended.items():
        await store.begin(SPEC, since=1, attempt=attempt(by, by))
        if reply is None:
            await store.withdraw("ep_1", attempt(by, by))
        else:
            made = turn(by)
            await store.commit(
                "ep_1", made, encoded=encode_turn(made), attempt=attempt(by, by), reply=reply
            )
        await store.renew_attempt("ep_1", attempt(by, by), has_begun=True)

        again = await store.begin(SPEC, since=1, attempt=attempt("again", by))
        assert not again.is_being_sampled


@pytest.mark.parametrize("first", ["a", "b"])
async def test_one_of_two_tries_is_recorded(
    server: KillableRedis, store: Store, first: str
) -> None:
    """If a crash forgets that a call is being sampled and a repeat samples it too, both get the reply of the faster one."""
    await store.begin(SPEC, since=1, attempt=attempt("a"))
    crash(server)
    await store.begin(SPEC, since=1, attempt=attempt("b"))
    second = "b" if first == "a" else "a"
    await record(store, attempt(first))

    for _ in range(2):  # also if the refusal is lost
        with pytest.raises(AttemptSuperseded):
            await record(store, attempt(second))
    answered = await store.begin(SPEC, since=1, attempt=attempt("again"))
    assert answered.reply == first.encode()
    assert [made.id for made in await store.turns("ep_1")] == ["first", f"turn of {first}"]
    assert header(server, store)[b"begun"] == b"2"


async def test_two_first_tries_with_equal_bodies_are_two_calls(
    server: KillableRedis, store: Store
) -> None:
    """Without a sign that one repeats the other, both are recorded, whatever was forgotten."""
    tries = [Attempt(by, "body:digest", "digest") for by in "ab"]
    for made in tries:
        await store.begin(SPEC, since=1, attempt=made)
    crash(server)

    assert [await record(store, made) for made in tries] == [1, 2]


async def test_an_older_call_with_the_same_body_answers_no_later_one(
    server: KillableRedis, store: Store
) -> None:
    """A repeat that was recorded before an attempt began is not what the attempt repeats."""
    await store.begin(SPEC, since=1, attempt=attempt("older", "body:digest"))
    await record(store, attempt("older", "body:digest"))
    later = Attempt("later", "body:digest", "digest")
    await store.begin(SPEC, since=2, attempt=later)
    crash(server)

    assert await record(store, later, since=2) == 2


async def test_an_attempt_that_waits_for_another_writes_no_lease(store: Store) -> None:
    """When the other one is taken back, a third try samples at once, and does not wait for one that may have left."""
    await store.begin(SPEC, since=1, attempt=attempt("a"))
    waiting = await store.begin(SPEC, since=1, attempt=attempt("b"))
    await store.withdraw("ep_1", attempt("a"))
    await store.renew_attempt("ep_1", attempt("b"), has_begun=False)

    assert waiting.is_being_sampled
    assert not (await store.begin(SPEC, since=1, attempt=attempt("c"))).is_being_sampled
