"""The transitions of claims over all shards.

`ack` has its commit point in shard 0, which records the policy. Before it each shard extends the leases, and each other shard marks
its groups as trained into the new version. A version that is larger than the recorded one was never recorded: groups that are
marked with it are queued again, when the call is refused, and when the next trainer takes over. A version is reserved once and
recorded at most once, and shard 0 refuses a trainer that another one has taken over from, so a mark counts if and only if its
policy is recorded.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import cast

from rollout.episode.advantages import Credit
from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import Claim, GroupView, JudgedBy
from rollout.errors import ClaimLost, LineageLeft, StoreUnavailable, Superseded
from rollout.policies import Policy
from rollout.store.claim_transitions import given_credit, policy_arguments
from rollout.store.sharded.shards import Shards
from rollout.store.store import Store
from rollout.store.transitions import milliseconds

ACK_SECONDS = 60.0  # for which `ack` extends the leases: far longer than its calls take


class ShardedClaims(Store):
    _shards: Shards

    async def group(self, group_id: str) -> GroupView | None:
        return await self._shards.of(group_id).group(group_id)

    async def take_over(self, owner: str) -> int:
        """Shard 0 first: after it no other trainer's `ack` succeeds, so what the others marked and did not record is known."""
        queued = await self._shards.first.take_over(owner)
        recorded = await self._version()
        for shard in self._shards.stores[1:]:
            queued += await shard.take_over(owner)
            # Otherwise the record was lost, and the trainer goes back to what it knows.
            if recorded >= 0:
                queued += len(await shard.restore(recorded))
        return queued

    async def claim(
        self,
        owner: str,
        *,
        groups: int,
        version: int,
        max_staleness: int,
        lease_seconds: float,
        judged_by: JudgedBy = "oldest",
    ) -> list[Claim]:
        """The oldest of all shards, as far as their shards answer. Raises StoreUnavailable only if no group was claimed."""
        claims: dict[str, Claim] = {}
        ages: dict[str, float] = {}
        wanted = dict.fromkeys(self._shards.stores, 0)
        heads: list[tuple[float, str, Store]] = []
        while True:
            answers = await asyncio.gather(
                *(
                    shard.claim(
                        owner,
                        groups=number,
                        version=version,
                        max_staleness=max_staleness,
                        lease_seconds=lease_seconds,
                        judged_by=judged_by,
                    )
                    for shard, number in wanted.items()
                ),
                return_exceptions=True,
            )
            failed = [answer for answer in answers if isinstance(answer, BaseException)]
            for answer in answers:
                if not isinstance(answer, BaseException):
                    claims |= {claim.group_id: claim for claim in answer}
            if failed and not (claims and all(isinstance(e, StoreUnavailable) for e in failed)):
                raise failed[0]
            if failed or len(claims) >= groups or await self._is_paused():
                break
            before, heads = heads, await self._oldest(groups - len(claims))
            if not heads or heads == before:
                break
            ages |= {group: age for age, group, _ in heads}
            wanted = {}
            for _, _, shard in heads:
                wanted[shard] = wanted.get(shard, 0) + 1
        return sorted(claims.values(), key=lambda claim: ages.get(claim.group_id, 0.0))

    async def _oldest(self, most: int) -> list[tuple[float, str, Store]]:
        """Score, name and shard of the ready groups to claim first."""
        replies = await self._shards.each(lambda shard: shard.transition("ready_heads", most))
        heads = [
            (float(flat[index + 1]), flat[index].decode(), number)
            for number, flat in enumerate(cast("list[list[bytes]]", replies))
            for index in range(0, len(flat), 2)
        ]
        return [(age, group, self._shards.stores[n]) for age, group, n in sorted(heads)[:most]]

    async def _is_paused(self) -> bool:
        return (await self._shards.first.training()).get("paused") == "1"

    async def renew(self, owner: str, group_ids: Sequence[str], *, lease_seconds: float) -> None:
        await self._of_all(
            [
                shard.renew(owner, own, lease_seconds=lease_seconds)
                for shard, own in self._shards.split(group_ids)
            ]
        )

    async def release(self, owner: str, group_ids: Sequence[str]) -> None:
        await self._of_all(
            [shard.release(owner, own) for shard, own in self._shards.split(group_ids)]
        )

    async def discard(self, owner: str, group_ids: Sequence[str], *, reason: DiscardReason) -> None:
        """ClaimLost names the lost ones of all shards; a shard that has none of them has discarded its groups."""
        await self._of_all(
            [
                shard.discard(owner, own, reason=reason)
                for shard, own in self._shards.split(group_ids)
            ]
        )

    async def _of_all(self, calls: Sequence[Coroutine[None, None, None]]) -> None:
        """Wait for all; what was lost anywhere is raised together, any other error before it."""
        answers = await asyncio.gather(*calls, return_exceptions=True)
        lost: list[str] = []
        for error in answers:
            if isinstance(error, ClaimLost):
                lost += error.group_ids
            elif isinstance(error, BaseException):
                raise error
        if lost:
            raise ClaimLost(*lost)

    async def ack(
        self,
        owner: str,
        group_ids: Sequence[str],
        policy: Policy,
        *,
        step: int | None = None,
        credit: Mapping[str, Credit] | None = None,
    ) -> None:
        """As in one shard: all of it happens or nothing, also if the caller dies at any moment."""
        parts = self._shards.split(group_ids)
        version = policy.version
        given = given_credit(credit or {})
        try:
            await self._hold(owner, parts, version)
            await self._check_lineage(policy)
            for shard, own in parts:
                if shard is not self._shards.first:
                    await shard.transition("mark_trained", owner, version, len(own), *own, *given)
            own = next((own for shard, own in parts if shard is self._shards.first), [])
            made_by = "" if step is None else step
            recorded = (*policy_arguments(policy), made_by, len(own))
            await self._shards.first.transition("ack", owner, *recorded, *own, *given)
        except (ClaimLost, LineageLeft, Superseded) as error:
            await self._unmark(version)
            if isinstance(error, Superseded):
                raise ClaimLost(*group_ids) from None
            raise

    async def _hold(
        self, owner: str, parts: Sequence[tuple[Store, list[str]]], version: int
    ) -> None:
        """Extend the leases, so that none expires between two shards."""
        lease = milliseconds(ACK_SECONDS)
        replies = await asyncio.gather(
            *(shard.transition("hold", owner, version, lease, *own) for shard, own in parts)
        )
        lost = [group.decode() for reply in cast("list[list[bytes]]", replies) for group in reply]
        if lost:
            raise ClaimLost(*lost)

    async def _check_lineage(self, policy: Policy) -> None:
        recorded = await self._shards.first.recorded_policy()
        known = {policy.version, policy.parent}
        if recorded is not None and policy.parent is not None and recorded.version not in known:
            raise LineageLeft(str(recorded.version), str(policy.parent))

    async def _unmark(self, version: int) -> None:
        """What other shards marked with a version that was not recorded is queued again."""
        if await self._version() >= version:
            return
        for shard in self._shards.stores[1:]:
            await shard.transition("unmark", version)

    async def _version(self) -> int:
        recorded = await self._shards.first.recorded_policy()
        return -1 if recorded is None else recorded.version

    async def restore(self, version: int) -> list[str]:
        found = await self._shards.each(lambda shard: shard.restore(version))
        return [group for groups in found for group in groups]

    async def checkpointed(self, version: int) -> None:
        await self._shards.each(lambda shard: shard.checkpointed(version))
