"""The stream of batches: groups claimed under a lease that is renewed while torch trains.

Rank 0 talks to the store; the other ranks receive the same claims. Agents continue during training: the groups they finish wait in
the store. A group is claimed while a batch is gathered, and its staleness is judged at that moment.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import anyio

from rollout.episode.advantages import Credit
from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import Claim
from rollout.errors import ClaimLost, LineageLeft, StoreError, Superseded
from rollout.policies import Policy
from rollout.store.store import Store
from trainer.async_bridge import AsyncBridge, Stopped
from trainer.batch.staleness import StalenessRule
from trainer.feed.replay_buffer import ReplayBuffer
from trainer.feed.zero_variance_groups import zero_variance_groups
from trainer.ranks import Ranks
from trainer.telemetry.report import Report

log = logging.getLogger("trainer.feed")

# After this time without a batch rank 0 sends an empty one to the other ranks, so that they do not time out.
QUIET_SECONDS = 30.0
RETRY_SECONDS = 1.0  # after a failed renewal
MAX_REFUSALS = 3  # a gradient that is not finite three times will not become finite


class Feed:
    """Iterate to receive batches of claims; then `ack`, `discard` or `refuse` each. Every rank does the same."""

    def __init__(
        self,
        store: Store,
        bridge: AsyncBridge,
        ranks: Ranks,
        *,
        groups_per_batch: int,
        staleness: StalenessRule,
        buffer: ReplayBuffer,
        lease_seconds: float,
        version: int,
        report: Report,
        owner: str,
        most_replaced: int = 0,
    ) -> None:
        self.version = version  # of the policy the learner holds
        self.owner = owner
        self._store, self._bridge, self._ranks = store, bridge, ranks
        self._groups_per_batch = groups_per_batch
        self._staleness = staleness
        self._buffer = buffer
        self._lease_seconds = lease_seconds
        self._held: dict[str, Claim] = {}  # under lease: buffered or being trained
        self._refusals: Counter[str] = Counter()
        self._report = report
        # Groups of equal rewards per batch: a solved task must not stop training.
        self._most_replaced = most_replaced
        self._num_replaced = 0

    @contextmanager
    def open(self, *, max_live_episodes: int, per_key: int | None = None) -> Iterator["Feed"]:
        """Renew leases and update admission while the block runs; release what is still held at its end."""
        if not self._ranks.is_primary:
            yield self
            return
        state = {
            "max_live_episodes": max_live_episodes,
            "max_live_episodes_per_key": max_live_episodes if per_key is None else per_key,
            "closed": 0,
        }
        self._bridge.call(self._store.set_training, state)
        with self._bridge.background(self._keep_alive):
            try:
                yield self
            finally:
                with suppress(
                    Stopped
                ):  # without Redis the leases expire, or the next trainer takes over
                    self.release()
                    self._bridge.call(self._admit)

    def __iter__(self) -> Iterator[list[Claim]]:
        while (claims := self._next_batch()) is not None:
            yield claims

    def ack(
        self,
        claims: Sequence[Claim],
        policy: Policy,
        *,
        step: int | None = None,
        credit: Mapping[str, Credit] | None = None,
    ) -> None:
        """In one transaction: the claims are trained into `policy`, with this credit for their episodes, and `policy` is to be served.

        If the lease of one is lost, or the recorded policy is not its parent, nothing of that happens and every rank raises
        ClaimLost or LineageLeft.
        """
        lost: ClaimLost | LineageLeft | None = None
        try:
            self._end_claims(
                claims,
                lambda ids: self._store.ack(self.owner, ids, policy, step=step, credit=credit),
            )
        except (ClaimLost, LineageLeft) as error:
            lost = error
        if lost := self._ranks.share(lost):
            raise lost
        self.version = policy.version

    def discard(self, claims: Sequence[Claim], reason: DiscardReason) -> None:
        """Groups whose lease is lost are left to whoever holds them now."""
        self._end_claims(claims, lambda ids: self._discard(ids, reason))

    def checkpointed(self, version: int | None) -> None:
        """Groups trained up to this version are in every checkpoint that is left; the store may forget them."""
        if self._ranks.is_primary and version is not None:
            self._bridge.call(self._store.checkpointed, version)

    def check_taken_over(self) -> None:
        """Raise Superseded, on every rank, if another trainer of the project has started since."""
        superseded: Superseded | None = None
        if self._ranks.is_primary:
            try:
                self._bridge.call(self._claim_groups, 0)
            except Superseded as error:
                superseded = error
        if superseded := self._ranks.share(superseded):
            raise superseded

    def refuse(self, claims: Sequence[Claim]) -> None:
        """Release groups that could not be trained; a group refused three times is discarded as failed."""
        self._refusals.update(claim.group_id for claim in claims)
        failed = [c for c in claims if self._refusals[c.group_id] >= MAX_REFUSALS]
        self.discard(failed, DiscardReason.FAILED)
        self.give_up([claim for claim in claims if claim not in failed])

    def give_up(self, claims: Sequence[Claim]) -> None:
        """Release these groups, as far as they are still held."""
        self._end_claims(claims, lambda ids: self._store.release(self.owner, ids))

    def leave(self, claims: Sequence[Claim]) -> None:
        """As a trainer that dies leaves them: the delivery counts, and a group that ends three trainers is discarded."""
        self._forget([claim.group_id for claim in claims])

    def release(self) -> None:
        """Release everything that is held."""
        self.give_up(list(self._held.values()))

    def _end_claims(
        self, claims: Sequence[Claim], transition: Callable[[list[str]], Awaitable[None]]
    ) -> None:
        ids = [claim.group_id for claim in claims]
        if not self._ranks.is_primary or not ids:
            return
        self._bridge.call(transition, ids)
        self._forget(ids)

    def _forget(self, group_ids: Sequence[str]) -> None:
        """Drop claims that this trainer no longer holds."""
        self._buffer.forget(group_ids)
        for group_id in group_ids:
            self._held.pop(group_id, None)

    def _next_batch(self) -> list[Claim] | None:
        """A whole batch, however long it takes; None when the process is asked to stop."""
        with self._report.phase("claim"):
            while (claims := self._ranks.share(self._gather())) == []:
                pass
        return claims

    def _gather(self) -> list[Claim] | None:
        """A whole batch; an empty one after QUIET_SECONDS; None when the process is asked to stop."""
        return self._bridge.call(self._fill) if self._ranks.is_primary else None

    async def _fill(self) -> list[Claim] | None:
        deadline = anyio.current_time() + QUIET_SECONDS
        await self._admit()
        await self._drop_stale()
        while not self._bridge.is_stopping:
            remaining = deadline - anyio.current_time()
            if remaining <= 0 or await is_pinned(self._store, self._bridge, remaining):
                await self._release_buffer()
                return []
            await self._claim()
            if len(self._buffer) >= self._groups_per_batch:
                self._num_replaced = 0
                await self._close()
                return self._buffer.take(self._groups_per_batch)
            await self._bridge.until_stopped(partial(self._store.wait_ready, remaining))
        return None

    async def _admit(self) -> None:
        if self._staleness.is_synchronous:
            await self._store.set_training({"closed": 0})

    async def _close(self) -> None:
        """Synchronous training admits no new group until the next policy is served: it would be stale from its first token."""
        if self._staleness.is_synchronous:
            await self._store.set_training({"closed": 1})

    async def _discard(self, group_ids: Sequence[str], reason: DiscardReason) -> None:
        """Discard the groups that are still held: the store discards all or none."""
        held = list(group_ids)
        while held:
            try:
                await self._store.discard(self.owner, held, reason=reason)
                break
            except ClaimLost as error:
                held = [group_id for group_id in held if group_id not in error.group_ids]

    async def _drop_stale(self) -> None:
        """Judge again groups that were claimed for an earlier batch."""
        stale = [
            claim.group_id
            for claim in self._buffer.claims
            if self._staleness.is_stale(claim, self.version)
        ]
        await self._discard(stale, DiscardReason.STALE)
        self._forget(stale)

    async def _release_buffer(self) -> None:
        """Hold nothing while no batch comes together: training may be paused, and claimed groups cannot be deleted."""
        ids = [claim.group_id for claim in self._buffer.claims]
        if ids:
            await self._store.release(self.owner, ids)
            self._forget(ids)

    async def _claim(self) -> None:
        """Claim as many groups as the buffer has room for."""
        claims = await self._claim_groups(self._buffer.room)
        replaced = zero_variance_groups(claims)[: self._most_replaced - self._num_replaced]
        kept = [claim for claim in claims if claim not in replaced]
        self._held |= {claim.group_id: claim for claim in kept}
        self._buffer.hold(kept)
        if not replaced:
            return
        ids = [claim.group_id for claim in replaced]
        await self._discard(ids, DiscardReason.NO_SIGNAL)
        self._num_replaced += len(ids)
        self._report.replaced(len(ids))
        await self._claim()  # other ready groups may cause no further signal

    async def _claim_groups(self, most: int) -> list[Claim]:
        before = self._store.num_set_aside
        claims = await self._store.claim(
            self.owner,
            groups=most,
            version=self.version,
            max_staleness=self._staleness.max_staleness,
            judged_by=self._staleness.judged_by,
            lease_seconds=self._lease_seconds,
        )
        for _ in range(self._store.num_set_aside - before):
            self._report.alert("damaged")
        return claims

    async def _keep_alive(self) -> None:
        """Renew leases three times per lease; send a heartbeat.

        A group with a lost lease is left out of a batch that is still gathered; if it is being trained, `ack` refuses the batch.
        """
        while True:
            pause = self._lease_seconds / 3
            try:
                await self._store.set_training({"heartbeat": int(time.time())})
                if self._held:
                    await self._store.renew(
                        self.owner, list(self._held), lease_seconds=self._lease_seconds
                    )
            except ClaimLost as error:
                self._forget(error.group_ids)
                log.warning("lease lost", extra={"groups": ",".join(error.group_ids)})
            except StoreError as error:  # whatever it is, an end here would lose every later lease
                log.warning("lease not renewed", extra={"error": str(error)})
                pause = min(pause, RETRY_SECONDS)
            await anyio.sleep(pause)


async def is_pinned(store: Store, bridge: AsyncBridge, patience_seconds: float) -> bool:
    """Whether an operator's pin stops training, after waiting at most `patience_seconds` for its end.

    While another policy is served than the one being trained, episodes belong to another lineage.
    """
    if not await store.pinned():
        return False
    async with store.signals() as changes:
        if await store.pinned():
            await bridge.until_stopped(partial(changes.wait, patience_seconds))
    return await store.pinned()
