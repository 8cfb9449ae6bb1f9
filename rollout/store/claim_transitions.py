"""The transitions of a group from ready to trained, called by the trainer. Repeating any of them is safe."""

from collections.abc import Mapping, Sequence
from typing import cast

from rollout.episode.advantages import Credit
from rollout.episode.episode_records import EpisodeView
from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.episode.group import Claim, GroupStatus, GroupView, JudgedBy
from rollout.errors import ClaimLost, DamagedEpisode, DamagedRecord
from rollout.policies import Policy
from rollout.store.redis_decoding import UNREADABLE, Flat, pairs, parse_view
from rollout.store.transitions import Transitions, milliseconds

MAX_DELIVERIES = 3  # a group that was claimed by three trainers that died is assumed to kill them


class ClaimTransitions(Transitions):
    """The transitions of groups and claims."""

    async def group(self, group_id: str) -> GroupView | None:
        """A group with the status of each member."""
        return await self._reading(lambda: self._group(group_id))

    async def _group(self, group_id: str) -> GroupView | None:
        reply = await self._run("group", group_id)
        return parse_group(group_id, reply) if reply else None

    async def take_over(self, owner: str) -> int:
        """Make this trainer the only one that may claim; what others held is queued again. Returns how many groups that were.

        A trainer that was stalled meanwhile can neither acknowledge nor claim, which raise ClaimLost and Superseded.
        """
        return cast("int", await self._run("take_over", owner, MAX_DELIVERIES))

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
        """Take up to `groups` ready groups, oldest first; none while training is paused.

        A group whose oldest (or newest) token is older than `version - max_staleness` is discarded as stale instead. Raises
        Superseded if another trainer has taken over.
        """
        lease = milliseconds(lease_seconds)
        reply = await self._run(
            "claim", owner, groups, version, max_staleness, lease, MAX_DELIVERIES, judged_by
        )
        claims = []
        for group_id, deliveries, episodes in cast("list[tuple[bytes, int, list[object]]]", reply):
            if views := await self._views(episodes):
                claims.append(Claim(group_id.decode(), tuple(views), deliveries))
        return claims

    async def _views(self, episodes: Sequence[object]) -> list[EpisodeView]:
        """The episodes that can be read; any other is discarded, and its group is trained without it."""
        views = []
        for episode in episodes:
            try:
                views.append(parse_view(episode))
            except DamagedRecord as error:
                await self.set_aside(error)
        return views

    async def renew(self, owner: str, group_ids: Sequence[str], *, lease_seconds: float) -> None:
        """Extend the lease of the groups. Raises ClaimLost with the lost ones, after renewing the others."""
        reply = await self._run("renew", owner, milliseconds(lease_seconds), *group_ids)
        if lost := cast("list[bytes]", reply):
            raise ClaimLost(*(group_id.decode() for group_id in lost))

    async def release(self, owner: str, group_ids: Sequence[str]) -> None:
        """Give groups back to the queue; the delivery does not count."""
        await self._run("release", owner, *group_ids)

    async def ack(
        self,
        owner: str,
        group_ids: Sequence[str],
        policy: Policy,
        *,
        step: int | None = None,
        credit: Mapping[str, Credit] | None = None,
    ) -> None:
        """Mark the groups as trained into the policy and record it as current, or raise ClaimLost or LineageLeft and do neither.

        The advantages are stored with their episodes and the trained tokens are counted as delivered. An episode that was
        left out is discarded. The policy and its optimizer step stay in an outbox until the ledger has them.
        """
        given = given_credit(credit or {})
        made_by = "" if step is None else step
        recorded = (*policy_arguments(policy), made_by)
        await self._run("ack", owner, *recorded, len(group_ids), *group_ids, *given)

    async def discard(self, owner: str, group_ids: Sequence[str], *, reason: DiscardReason) -> None:
        """Give up claimed groups for good. Raises ClaimLost and discards none if one is not held."""
        await self._run("discard", owner, reason, *group_ids)

    async def restore(self, version: int) -> list[str]:
        """Queue the groups that were trained into later versions again, after an older checkpoint was restored.

        Claiming judges whether a group is still fresh.
        """
        reply = cast("list[bytes]", await self._run("restore", version))
        return [group_id.decode() for group_id in reply]

    async def checkpointed(self, version: int) -> None:
        """Let groups that were trained into this version or an earlier one expire: the checkpoint has them."""
        await self._run("checkpointed", version)


def given_credit(credit: Mapping[str, Credit]) -> list[str | bytes | int]:
    """The credit of each episode, as `train_groups` reads it."""
    return [
        item
        for episode_id, own in credit.items()
        for item in (episode_id, own.advantages, own.num_tokens, own.left_out or "")
    ]


def policy_arguments(policy: Policy) -> tuple[str | int, ...]:
    """A policy in the order of `policy.lua`."""
    parent = "" if policy.parent is None else policy.parent
    return (policy.version, policy.path, parent, policy.digest, policy.created)


def parse_group(group_id: str, reply: object) -> GroupView:
    """What `group.lua` returns."""
    status, size, deliveries, deadline, members = cast(
        "tuple[bytes, bytes, bytes, bytes | None, Flat]", reply
    )
    states = []
    for id_, state in pairs(members):
        try:
            states.append((id_, EpisodeStatus(state)))
        except ValueError as error:
            raise DamagedEpisode(id_, str(error)) from error
    try:
        return GroupView(
            id=group_id,
            status=GroupStatus(status.decode()),
            size=int(size) or None,
            members=tuple(states),
            deadline_ms=int(deadline) if deadline else None,
            deliveries=int(deliveries),
        )
    except UNREADABLE as error:
        raise DamagedRecord(f"grp:{group_id}", str(error)) from error
