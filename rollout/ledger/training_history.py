"""What was trained: policies, the steps that made them, the episodes of each, and the engines' swaps.

Versions grow and are never reused, so the policies between a parent and its child are not ancestors of the child. Training
continued from an older version, and they are abandoned: what was trained into them is queued and trained again.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, and_, exists, or_, select, update

from rollout.episode.episode_records import SettledEpisode
from rollout.ledger import tables
from rollout.ledger.projects import Projects, to_record
from rollout.ledger.records import LedgerPolicy, SwapRecord, TrainedEpisode, TrainingStep
from rollout.policies import Policy, Publication

STEP_COLUMNS = {"step", "version", "metrics", "created"}  # the rest is the policy's


class TrainingHistory(Projects):
    """The history of every project's training."""

    async def record_policy(self, project: str, policy: Policy) -> None:
        """Record a published policy, and mark the policies that its lineage left."""
        await self._write(tables.policies, project, [msgspec.structs.asdict(policy)])
        async with self._database.transaction() as connection:
            await connection.execute(
                update(tables.policies).where(left_by(project, policy)).values(abandoned=True)
            )

    async def record_publications(self, project: str, publications: Sequence[Publication]) -> None:
        """Record policies from the store's outbox, and their steps unless the trainer recorded them with metrics."""
        for publication in publications:
            await self.record_policy(project, publication.policy)
        steps: list[dict[str, Any]] = [
            {
                "version": p.policy.version,
                "step": p.step,
                "created": p.policy.created,
                "metrics": {},
            }
            for p in publications
            if p.step is not None
        ]
        if steps:
            await self._write_missing(tables.training_steps, project, steps)

    async def policies(self, project: str) -> list[Policy]:
        """Every policy ever published, by version."""
        return [to_record(Policy, row) for row in await self._database.rows(_policies(project))]

    async def lineages(self, project: str) -> list[LedgerPolicy]:
        """The parent of every policy, and whether its lineage was abandoned, by version."""
        rows = await self._database.rows(_policies(project))
        return [to_record(LedgerPolicy, row) for row in rows]

    async def policy(self, project: str, version: int) -> Policy | None:
        """One policy by its version."""
        return next((p for p in await self.policies(project) if p.version == version), None)

    async def record_step(self, project: str, step: TrainingStep) -> None:
        """Record the optimizer step that made a policy."""
        row = {name: getattr(step, name) for name in STEP_COLUMNS}
        await self._write(tables.training_steps, project, [row])

    async def training_steps(self, project: str, *, limit: int = 100) -> list[TrainingStep]:
        """The latest steps, oldest first."""
        steps, policies = tables.training_steps, tables.policies
        made = and_(policies.c.project == steps.c.project, policies.c.version == steps.c.version)
        query = (
            select(steps, policies.c.parent, policies.c.abandoned)
            .outerjoin(policies, made)
            .where(steps.c.project == project)
        )
        latest = await self._database.rows(query.order_by(steps.c.version.desc()).limit(limit))
        return [
            to_record(TrainingStep, dict(row) | {"abandoned": bool(row["abandoned"])})
            for row in reversed(latest)
        ]

    async def record_trained(self, project: str, episodes: Sequence[SettledEpisode]) -> None:
        """Record which of these episodes were trained, and into which version; nothing is ever replaced."""
        rows: list[dict[str, Any]] = [
            {
                "version": header.policy_version,
                "episode_id": header.id,
                "created_ms": header.created_ms,
            }
            for header in (episode.header for episode in episodes)
            if header.policy_version is not None
        ]
        if rows:
            await self._write_missing(tables.trained_episodes, project, rows)

    async def trained_episodes(
        self, project: str, *, after: TrainedEpisode | None = None, limit: int = 1000
    ) -> list[TrainedEpisode]:
        """A page of what was trained, by version and id, abandoned versions included."""
        table = tables.trained_episodes
        query = select(table).where(table.c.project == project)
        if after is not None:
            same, beyond = table.c.version == after.version, table.c.episode_id > after.episode_id
            query = query.where(or_(table.c.version > after.version, and_(same, beyond)))
        page = query.order_by(table.c.version, table.c.episode_id).limit(limit)
        return [to_record(TrainedEpisode, row) for row in await self._database.rows(page)]

    async def record_swaps(self, project: str, swaps: Sequence[SwapRecord]) -> None:
        """Record the engines' changes of policy."""
        await self._write(tables.swaps, project, [msgspec.structs.asdict(swap) for swap in swaps])

    async def swaps(self, project: str, *, limit: int = 100) -> list[SwapRecord]:
        """The latest swaps, oldest first."""
        query = select(tables.swaps).where(tables.swaps.c.project == project)
        latest = await self._database.rows(query.order_by(tables.swaps.c.id.desc()).limit(limit))
        return [to_record(SwapRecord, row) for row in reversed(latest)]


def left_by(project: str, policy: Policy) -> ColumnElement[bool]:
    """The policies between this one and its parent; and this one, if a newer one was recorded first and left it."""
    table = tables.policies
    newer = tables.policies.alias()
    parent = policy.version if policy.parent is None else policy.parent
    is_between = and_(table.c.version > parent, table.c.version < policy.version)
    is_left = exists(
        select(newer.c.version).where(
            newer.c.project == project,
            newer.c.version > policy.version,
            newer.c.parent < policy.version,
        )
    )
    return and_(
        table.c.project == project,
        or_(is_between, and_(table.c.version == policy.version, is_left)),
    )


def _policies(project: str) -> Select[Any]:
    table = tables.policies
    return select(table).where(table.c.project == project).order_by(table.c.version)
