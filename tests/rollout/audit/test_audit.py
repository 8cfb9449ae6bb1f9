"""An audit finds nothing in a sound project, and names exactly what is corrupted by hand."""

import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from rollout.catching_up import raise_counters
from rollout.episode.turn import encode_turn
from tests.rollout.audit.scene import Scene, opened
from tests.rollout.play import play
from tests.rollout.turns import output, turn

Found = set[tuple[str, str]]


async def test_a_sound_project_has_no_offenders(scene: Scene) -> None:
    """Trained, restored, trained again, discarded, deleted, live, held-out and waiting episodes contradict nothing."""
    report = await scene.audit()

    assert report.offenders == ()
    assert report.not_compared == ()
    assert (report.episodes, report.groups, report.trained) == (11, 8, 3)


async def test_a_sound_project_in_shards_has_no_offenders(redis_url: str, tmp_path: Path) -> None:
    """The same life of a project in three shards, whose counts are those of all together."""
    project = uuid.uuid4().hex
    async with opened(redis_url, project, tmp_path / "ledger.db", num_shards=3) as scene:
        await scene.play_everything()
        await raise_counters(scene.store, scene.ledger)
        report = await scene.audit()

    assert report.offenders == ()
    assert report.not_compared == ()
    assert (report.episodes, report.groups, report.trained) == (11, 8, 3)


async def test_an_id_that_is_used_again_names_another_episode(scene: Scene) -> None:
    """After its data has expired, before and after the new one is in the ledger: both dispositions count, each once."""
    await scene.store.checkpointed(4)
    for _ in range(2):
        scene.clock.advance(2 * 3600)
        await scene.store.sweep()
    await scene.settle()
    assert await scene.store.episode("ep_1") is None
    await play(scene.store, "ep_1", value=None)
    await scene.store.seal("ep_1", outcome="aborted")
    assert (await scene.audit()).offenders == ()

    await scene.settle()

    report = await scene.audit()
    assert report.offenders == ()
    assert report.trained == 3
    assert (await scene.ledger.episode(scene.store.project, "ep_1")).disposition == "aborted"


def hash_field(name: str, field: str, value: object) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.redis.hset(scene.key(name), field, value)


def no_field(name: str, field: str) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.redis.hdel(scene.key(name), field)


def no_key(name: str) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.redis.delete(scene.key(name))


def another_type(name: str) -> Callable[[Scene], Awaitable[object]]:
    async def corrupt(scene: Scene) -> None:
        await scene.redis.delete(scene.key(name))
        await scene.redis.sadd(scene.key(name), "garbage")

    return corrupt


def no_entry(name: str, id_: str) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.redis.zrem(scene.key(name), id_)


def entry(name: str, id_: str, score: float = 5) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.redis.zadd(scene.key(name), {id_: score})


def pushed(name: str, value: bytes) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.redis.rpush(scene.key(name), value)


def replaced(name: str, value: bytes) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.redis.lset(scene.key(name), 0, value)


def in_ledger(statement: str) -> Callable[[Scene], Awaitable[object]]:
    return lambda scene: scene.sql(statement)


EPISODE, LEDGER, TOTALS = ("episode", "ep_1"), ("ledger", "ep_1"), ("count", "totals")
ANOTHER_TURN = encode_turn(turn("another", [1], output([2])))
LONGER_TURN = encode_turn(turn("turn of ep_1", [1], output([2, 3])))
ORPHANED = {
    *(("key", f"ep.{part}:ep_open") for part in ("rewards", "reward_log", "reward_keys")),
    *(("index", f"{name} ep_open") for name in ("episodes", "idle", "quiet")),
    ("group", "g_open"),
    TOTALS,
}
MUTATIONS: dict[str, tuple[Callable[[Scene], Awaitable[object]], Found]] = {
    # one disposition
    "an unknown status": (hash_field("ep:ep_1", "status", "lost"), {EPISODE, ("group", "g1")}),
    "a second disposition": (hash_field("ep:ep_1", "reason", "stale"), {EPISODE}),
    "a discarded episode without reason": (
        no_field("ep:ep_aborted", "reason"),
        {("episode", "ep_aborted")},
    ),
    "no header": (no_key("ep:ep_open"), ORPHANED),
    "a total that is off": (hash_field("totals", "trained", 99), {TOTALS, ("count", "ledger")}),
    "an opened episode too many": (hash_field("totals", "opened", 99), {TOTALS}),
    "a lost reservation": (hash_field("totals", "reserved", 0), {TOTALS}),
    # trained once, in the lineage
    "trained into an abandoned version": (hash_field("ep:ep_1", "policy_version", 2), {EPISODE}),
    "trained without advantages": (no_key("ep.advantages:ep_1"), {EPISODE}),
    "trained twice": (
        in_ledger("INSERT INTO trained_episodes SELECT project, 4, episode_id, created_ms "
                  "FROM trained_episodes WHERE episode_id = 'ep_1'"),
        {LEDGER},
    ),
    "an abandoned version that is not marked": (
        in_ledger("UPDATE policies SET abandoned = false WHERE version = 2"),
        {("policy", "2")},
    ),
    "a trained version that is marked abandoned": (
        in_ledger("UPDATE policies SET abandoned = true WHERE version = 1"),
        {("policy", "1")},
    ),
    "a lost ancestor": (in_ledger("DELETE FROM policies WHERE version = 1"), {("policy", "1")}),
    "a store behind the ledger": (hash_field("policy", "version", 3), {("policy", "4")}),
    # turns
    "a lost turn": (
        lambda scene: scene.redis.lpop(scene.key("ep.turns:ep_1")),
        {EPISODE},
    ),
    "a turn too many": (pushed("ep.turns:ep_1", ANOTHER_TURN), {EPISODE}),
    "another turn in its place": (
        replaced("ep.turns:ep_1", ANOTHER_TURN),
        {("turn", "turn of ep_1")},
    ),
    "a turn with other tokens": (replaced("ep.turns:ep_1", LONGER_TURN), {EPISODE}),
    "an unreadable turn": (replaced("ep.turns:ep_1", b"\xff"), {("turn", "ep_1[0]")}),
    "a turn of another episode": (
        hash_field("turns", "turn of ep_1", "ep_2"),
        {("turn", "turn of ep_1")},
    ),
    "a turn that is not indexed": (
        no_field("turns", "turn of ep_1"),
        {("turn", "turn of ep_1")},
    ),
    # rewards
    "an amended value": (
        hash_field("ep.rewards:ep_open", "*|reward", "9"),
        {("reward", "ep_open *|reward")},
    ),
    "a lost reward": (
        no_key("ep.rewards:ep_open"),
        {("reward", "ep_open *|reward")},
    ),
    "a lost log of rewards": (
        no_key("ep.reward_log:ep_open"),
        {("episode", "ep_open"), ("reward", "ep_open *|reward"), ("reward", "ep_open k"),
         ("reward", "ep_open l")},
    ),
    "another idempotent answer": (
        hash_field("ep.reward_keys:ep_open", "k", msgspec.msgpack.encode(("*|reward", "7", "5", 0))),
        {("reward", "ep_open k")},
    ),
    # groups and queues
    "a member too many": (entry("grp.members:g1", "ep_ghost"), {("group", "g1")}),
    "a lost member": (no_entry("grp.members:g1", "ep_2"), {("episode", "ep_2")}),
    "a count that is off": (hash_field("grp:g_ready", "rewarded", 5), {("group", "g_ready")}),
    "two queues": (entry("claimed", "g_ready"), {("group", "g_ready")}),
    "no queue": (no_entry("ready", "g_ready"), {("group", "g_ready")}),
    "no deadline": (no_entry("deadlines", "g_open"), {("group", "g_open")}),
    "no idle time": (no_entry("idle", "ep_open"), {("episode", "ep_open")}),
    "data that never expires": (no_entry("expiring", "ep_aborted"), {("episode", "ep_aborted")}),
    # keys
    "a key of another type": (another_type("ep.turns:ep_1"), {("key", "ep.turns:ep_1")}),
    "a part without its episode": (
        pushed("ep.turns:ep_ghost", b""),
        {("key", "ep.turns:ep_ghost")},
    ),
    "a strange key": (pushed("stray", b""), {("key", "stray")}),
    "an entry of nothing": (entry("idle", "ep_ghost"), {("index", "idle ep_ghost")}),
    # ledger
    "a lost row": (
        in_ledger("DELETE FROM episodes WHERE id = 'ep_1'"),
        {EPISODE, ("count", "ledger")},
    ),
    "another disposition in the ledger": (
        in_ledger("UPDATE episodes SET disposition = 'stale' WHERE id = 'ep_1'"),
        {EPISODE, LEDGER, ("count", "ledger")},
    ),
    "another reward in the ledger": (
        in_ledger("UPDATE episodes SET reward = 7 WHERE id = 'ep_1'"),
        {EPISODE},
    ),
    "fewer turns in the ledger": (
        in_ledger("UPDATE episodes SET num_turns = 0 WHERE id = 'ep_1'"),
        {EPISODE},
    ),
    "a lost entry of the outbox": (
        no_entry("settled", "ep_unsettled"),
        {("episode", "ep_unsettled"), ("count", "ledger")},
    ),
    "a step that names nothing": (
        in_ledger("DELETE FROM trained_episodes WHERE episode_id = 'ep_1'"),
        {LEDGER},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_corruption_is_named_and_nothing_else(scene: Scene, name: str) -> None:
    """Each contradiction is found, with the kind and the id of what contradicts."""
    corrupt, expected = MUTATIONS[name]
    await corrupt(scene)

    report = await scene.audit()

    assert {(offender.kind, offender.id) for offender in report.offenders} == expected
