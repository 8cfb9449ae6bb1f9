"""The episode store: all live state, in Redis. Each method is one transition and one round trip.

All keys of a project start with `turngate:{<project>}:`. The braces are Redis Cluster's hash tag: one script changes an
episode, its group and the queues together, so a project lives in one slot. One core of Redis handles a few thousand turns a
second with `appendfsync always`. `sharded/` spreads a project over several stores, each with a slot of its own.

The part of a record comes before the id: everything after the first colon of `ep.turns:<id>` is the id. So an id may hold
any character, and none is part of another record's key.

`begin` of an open episode and `renew_attempt` change in memory only what a crash of Redis may forget, so that they do not wait
for the disk: `begun` in the header and the entries of ep.leases (`lua/functions/memory.lua`). What may not be forgotten with
them is on disk: ep.withdrawn and ep.superseded, which count an attempt once, and the deadlines in idle and quiet, which no
write in memory moves. A commit writes `begun` whole and ends the lease, also that of another attempt. What limit.requests,
limit.tokens and limit.grammars count is in memory only, because it is of the last minute. So is limit.running: after a crash
the calls that run then are not counted.

A commit moves the deadlines of its episode in idle and quiet and writes only when it was, as `committed` in the header. A sweep
writes a deadline anew before it acts on it (`lua/functions/idleness.lua`), so the score is the earliest time at which it may be due.

A record that is damaged, of another type or with content that cannot be read, is moved aside when it is met; what other
records tell about it is derived again (`lua/functions/damage.lua`, `mending.lua`, `rebuild.lua`), an episode's own are discarded.

key                    type    meaning                                                deleted by
ep:<id>                hash    header: status, group, counts, versions (ms times)     sweep, after retention
ep.turns:<id>          list    the log: one msgpack Turn per commit                   sweep, delete
ep.turn_ids:<id>       list    ids of the turns in the log                            sweep, delete
ep.rewards:<id>        hash    "<turn, turn#choice or *>|<name>" -> value             sweep, delete
ep.reward_log:<id>     list    every reward ever recorded                             sweep, delete
ep.reward_keys:<id>    hash    idempotency key -> the recorded answer                 sweep, delete
ep.advantages:<id>     string float32 per trained token, or one for all               restore, sweep
ep.replies:<id>        hash    retry key -> digest and reply, latest 32 or 128 KB     sweep, delete
ep.reply_keys:<id>     list    retry keys in the order they came                      sweep, delete
ep.withdrawn:<id>      set     attempts at turns that began and failed                sweep, delete
ep.leases:<id>         hash    retry key -> the attempt that is being sampled         commit, withdraw, sweep, delete
ep.superseded:<id>     set     attempts whose lease expired and was taken             sweep, delete
ep.messages:<id>       hash    turn id -> the turn before it, and the messages that it
                               adds, for calls that name its reply, at most 8 MB       sweep, delete
turns                  hash    turn id -> episode id                                  sweep, delete
grp:<id>               hash    group: status, size, counts, owner, deliveries         sweep, with its last member
grp.members:<id>       zset    episode -> opening time                                sweep
episodes               zset    episode -> opening time, for listing                   sweep
holders                hash    key, or trainer -> places of admission that it holds    their end or silence
quiet                  zset    unfinished episode with a place -> when it loses it     its end or silence
ahead                  zset    open group -> when it loses places of unopened members  its members, sweep
idle                   zset    open episode, or sealed one without a trainable turn
                               -> when it is closed or discarded                      seal, commit, sweep
deadlines              zset    open group -> its reward deadline                      the group's end
ready                  zset    group -> when it became ready                          claim
claimed                zset    group -> lease expiry                                  ack, discard, release, sweep
trained                zset    group -> policy version it was trained into            checkpointed, restore
expiring               zset    settled episode -> when its data goes                  sweep
settled                zset    episode -> sequence: outbox for the ledger             settle_done
published              hash    policy version -> its record: outbox for the ledger    published_done
totals                 hash    counts by status and disposition, tokens, reward sums  never
training               hash    state and owner of the trainer, admission limit         never
policy, pinned         hash    the policy recorded last, the pinned one               never, unpin
version                string  the policy version that was reserved last              never
reward_weights         hash    reward name -> weight                                  weigh_rewards
history                string  the history policy of episodes that name none          never
alarm                  string  when the next sweep is due                             sweep
ready_signal           list    at most one token that wakes the trainer               wait_ready
signal                 channel deadline, settled, policy: wakes gateways              -
found.label:<key>:<id> string the episode of a runtime's own id, or of a cache key   its expiry
found.opening:<id>     string there while a call that found no episode may open this  opening, its expiry
found.words:<key>:<id> zset   episodes in which this was said -> when; negative once
                               a call has continued it there                          its expiry
limit.requests:<key>   hash    slot of the last minute -> requests of an API key      its expiry
limit.tokens:<key>     hash    the same of tokens, and what a call uses on average    its expiry
limit.grammars:<key>   hash    the same of grammars                                   its expiry
limit.open:<key>       set     open episodes of a key that may have so many only      the episode's end
limit.running:<key>    zset    running call -> lease expiry, by Redis's clock         limit_end, its expiry
session:<id>           string  the episode that a session's key stands for now          its expiry
shards                 string  over how many shards the project is spread, if over several never
found.claim:<id>       string  the shard in which a named episode is being opened     its expiry
lock:<name>            string  the holder of a lock                                   its expiry, its holder
repair                 hash    progress of the pass over all records: phase, cursor     the next pass
recount, recount_holders hash totals and holders, as far as that pass has counted      the pass
forgotten              hash    what the totals have of episodes whose headers are gone never
copy.policy, copy.pinned hash second record of what nothing else tells                their original
copy.training, copy.reward_weights hash the same                                      their original
copy.version, copy.history, copy.layout string the same                               their original
damaged:<index>        string  a damaged record, of any type, moved aside             after a week, or 200 later ones
damage                 list    the latest damage: name, where it was moved to, why    damage
damage_count, damage_index, damage_seen string counts of damaged records              never
probe                  string  when it was last asked whether Redis accepts writes    never
layout                 string  the version of this table that the records follow      never
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import cast

from redis.exceptions import RedisError

from rollout.errors import ShardsDiffer, StoreUnavailable
from rollout.store.claim_transitions import ClaimTransitions
from rollout.store.cluster_nodes import ClusterNodes, SlotNode
from rollout.store.connection import connect
from rollout.store.episode_transitions import EpisodeTransitions
from rollout.store.finding_transitions import FindingTransitions
from rollout.store.inspection import InspectionReads
from rollout.store.key_changes import KeyChanges
from rollout.store.limit_transitions import LimitTransitions
from rollout.store.lua_scripts import LuaScripts
from rollout.store.project_transitions import ProjectTransitions
from rollout.store.repair_transitions import RepairTransitions
from rollout.store.signals import Signals, Subscription
from rollout.store.transitions import Timings, milliseconds

log = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
CALL_SECONDS = 5.0  # a healthy Redis answers in under a millisecond; a large claim takes tens


class Store(
    EpisodeTransitions,
    FindingTransitions,
    ClaimTransitions,
    LimitTransitions,
    ProjectTransitions,
    RepairTransitions,
    InspectionReads,
):
    """The episodes of one project. Raises StoreUnavailable when Redis does not answer."""

    def __init__(
        self,
        nodes: ClusterNodes,
        *,
        project: str,
        timings: Timings,
        clock: Callable[[], float],
        shard: int = 0,
    ) -> None:
        self._nodes = nodes
        self._node = SlotNode(nodes)
        scripts = LuaScripts(self._node)
        super().__init__(scripts, project=project, timings=timings, clock=clock, shard=shard)

    @property
    def shards(self) -> Sequence["Store"]:
        """The stores that the project is spread over; each has deadlines, an outbox and signals of its own."""
        return (self,)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        project: str = "default",
        timings: Timings | None = None,
        clock: Callable[[], float] = time.time,
        call_seconds: float = CALL_SECONDS,
    ) -> "Store":
        """A store on the Redis at this URL; it connects on the first call, and again after a broken connection.

        Repeating a call then is safe: every transition may be repeated.
        """
        nodes = ClusterNodes(connect(url), deadline_seconds=call_seconds)
        return cls(nodes, project=project, timings=timings or Timings(), clock=clock)

    def of(self, project: str) -> "Store":
        """The store of another project on the same connections; close only the store that connected."""
        return Store(self._nodes, project=project, timings=self._timings, clock=self._clock)

    def key_changes(self) -> KeyChanges:
        """The changes of all projects' keys, on the same connections."""
        return KeyChanges(self._nodes)

    async def close(self) -> None:
        """Close the connections; calls still waiting fail with StoreUnavailable."""
        await self._nodes.close()

    async def ping(self) -> None:
        """Raise StoreUnavailable unless Redis accepts writes."""
        await self._run("probe")

    async def weaknesses(self) -> list[str]:
        """What of Redis's configuration loses acknowledged turns in a crash; nothing if Redis does not tell."""
        try:
            found = cast("list[bytes]", await self._node.call("CONFIG", "GET", "append*"))
        except RedisError:  # of a hosted Redis, which keeps CONFIG to itself
            return []
        configured = dict(zip(found[::2], found[1::2], strict=True))
        needed = {b"appendonly": b"yes", b"appendfsync": b"always"}
        return [
            f"{name.decode()} is {configured[name].decode()}, not {value.decode()}"
            for name, value in needed.items()
            if configured.get(name, value) != value
        ]

    async def prepare(self) -> None:
        """Bring what an older release wrote into today's layout. Raises StoreTooNew if a newer one wrote it.

        Raises ShardsDiffer if the project has live episodes that are spread over another number of shards.
        """
        await self.prepare_shard()
        await check_shards(self)

    def shard(self, number: int) -> "Store":
        """One shard of the project, on the same connections."""
        return Store(
            self._nodes,
            project=self.project,
            timings=self._timings,
            clock=self._clock,
            shard=number,
        )

    async def prepare_shard(self) -> None:
        """Bring the records of this shard into today's layout."""
        renamed = cast("int", await self._run("layout"))
        if renamed:
            log.info("store migrated", extra={"project": self.project, "keys": renamed})

    async def key_names(self) -> AsyncIterator[list[str]]:
        """The names of all keys of the project, without its prefix, in parts; a name may come twice."""
        await self._node.call("EXISTS", self._prefix)  # finds the node
        node, cursor = self._node.batcher, b"0"
        while True:
            match = ("MATCH", f"{self._prefix}*", "COUNT", 1000)
            reply = await node.submit("SCAN", cursor, *match)
            cursor, found = cast("tuple[bytes, list[bytes]]", reply)
            yield [
                name.decode(errors="backslashreplace").removeprefix(self._prefix) for name in found
            ]
            if int(cursor) == 0:
                return

    async def wait_ready(self, timeout_seconds: float) -> bool:
        """Block until a group may have become ready to claim; False when the time is over."""
        return await Signals(self._node.batcher.redis, self._prefix).wait_ready(timeout_seconds)

    def signals(self) -> AbstractAsyncContextManager[Subscription]:
        """Receive deadlines, settled episodes and recorded policies while the context is open."""
        return Signals(self._node.batcher.redis, self._prefix).subscribe()

    @asynccontextmanager
    async def lock(self, name: str, *, lease_seconds: float) -> AsyncIterator[bool]:
        """Try to take a lock; yields whether this caller holds it. It is renewed, so that only that of a dead holder expires."""
        owner = secrets.token_hex(8)
        lease = milliseconds(lease_seconds)
        if await self._run("lock", name, owner, lease) != 1:
            yield False
            return
        renewing = asyncio.create_task(self._renew_lock(name, owner, lease_seconds))
        try:
            yield True
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(StoreUnavailable):  # it expires
                await self._run("unlock", name, owner)

    async def _renew_lock(self, name: str, owner: str, lease_seconds: float) -> None:
        while True:
            await asyncio.sleep(lease_seconds / RENEWALS_PER_LEASE)
            with suppress(StoreUnavailable):
                await self._run("lock", name, owner, milliseconds(lease_seconds))


async def check_shards(store: Store) -> None:
    """Record the number of shards; raises ShardsDiffer if live episodes lie in another number of them."""
    wanted = len(store.shards)
    found = await recorded_shards(store.shards[0])
    if found == wanted:
        return
    for number in range(max(found, wanted)):
        if await store.shard(number).transition("is_used"):
            raise ShardsDiffer(store.project, found=found, wanted=wanted)
    await store.shards[0].transition("set_shards", wanted)


async def recorded_shards(first: Store) -> int:
    """The number of shards that a project has."""
    return cast("int", await first.transition("shards"))
