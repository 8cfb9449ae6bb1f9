"""The ledger: what must outlive Redis, in SQL. Projects and keys, policies, training steps, swaps, settled episodes.

Writing the same record twice is safe: rows have natural keys.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Select, func, select

from rollout.episode.episode_records import EpisodeHeader, SettledEpisode
from rollout.episode.episode_status import DiscardReason
from rollout.ledger import tables
from rollout.ledger.database import Database
from rollout.ledger.evaluation import Evaluation
from rollout.ledger.keys import Keys
from rollout.ledger.projects import to_record
from rollout.ledger.records import LedgerEpisode
from rollout.ledger.training_history import TrainingHistory

# Held-out episodes of earlier releases ended as no_signal.
EVALUATED = (DiscardReason.EVALUATED.value, DiscardReason.NO_SIGNAL.value)
SHARED_COLUMNS = set(LedgerEpisode.__struct_fields__) & set(EpisodeHeader.__struct_fields__)


class Ledger(TrainingHistory, Keys):
    """Every project's history. Raises LedgerUnavailable when the database cannot be used."""

    @classmethod
    async def open(cls, url: str, *, clock: Callable[[], float] = time.time) -> "Ledger":
        """The ledger at `sqlite:///path` or `postgresql://...`, its tables brought up to date."""
        database = Database.connect(url)
        try:
            await database.migrate()
        except BaseException:
            await database.close()
            raise
        return cls(database, clock=clock)

    async def close(self) -> None:
        """Close the database's connections."""
        await self._database.close()

    async def settle(self, project: str, episodes: Sequence[SettledEpisode]) -> None:
        """Record the dispositions of episodes; a row is replaced only by one with a later sequence."""
        await self.record_trained(project, episodes)
        await self._keep_earlier(project, episodes)
        rows = [to_row(episode) for episode in episodes]
        await self._write(tables.episodes, project, rows, newest="sequence")

    async def episode(self, project: str, episode_id: str) -> LedgerEpisode | None:
        """A settled episode, also after its data has expired from the store."""
        table = tables.episodes
        query = select(table).where(table.c.project == project, table.c.id == episode_id)
        rows = await self._database.rows(query)
        return to_record(LedgerEpisode, rows[0]) if rows else None

    async def episodes(self, project: str, ids: Sequence[str]) -> dict[str, LedgerEpisode]:
        """The settled ones of these episodes, by id."""
        table = tables.episodes
        query = select(table).where(table.c.project == project, table.c.id.in_(ids))
        rows = await self._database.rows(query)
        return {row["id"]: to_record(LedgerEpisode, row) for row in rows}

    async def episodes_after(
        self, project: str, episode_id: str, *, limit: int = 1000
    ) -> list[LedgerEpisode]:
        """A page of all settled episodes, by id."""
        table = tables.episodes
        query = select(table).where(table.c.project == project, table.c.id > episode_id)
        rows = await self._database.rows(query.order_by(table.c.id).limit(limit))
        return [to_record(LedgerEpisode, row) for row in rows]

    async def earlier_dispositions(self, project: str) -> dict[str, int]:
        """How many episodes ended in each way whose id was used again since."""
        table = tables.earlier_episodes
        query = select(table.c.disposition, func.count().label("episodes"))
        query = query.where(table.c.project == project).group_by(table.c.disposition)
        return {row["disposition"]: row["episodes"] for row in await self._database.rows(query)}

    async def _keep_earlier(self, project: str, episodes: Sequence[SettledEpisode]) -> None:
        """Keep what is replaced by another episode with the same id."""
        created = {episode.header.id: episode.header.created_ms for episode in episodes}
        known = await self.episodes(project, list(created))
        earlier: list[dict[str, Any]] = [
            {"id": row.id, "created_ms": row.created_ms, "disposition": row.disposition}
            for row in known.values()
            if row.created_ms < created[row.id]
        ]
        if earlier:
            await self._write_missing(tables.earlier_episodes, project, earlier)

    async def latest_sequence(self, project: str) -> int:
        """The greatest sequence of a settled episode."""
        table = tables.episodes
        query = select(func.max(table.c.sequence).label("latest"))
        rows = await self._database.rows(query.where(table.c.project == project))
        return int(rows[0]["latest"] or 0)

    async def evaluations(self, project: str) -> list[Evaluation]:
        """The rewards of held-out episodes, by the policy version that sampled them."""
        rows = await self._database.rows(evaluated(project))
        return [to_record(Evaluation, row) for row in rows]


def evaluated(project: str) -> Select[Any]:
    """Held-out episodes with a reward, grouped by the one version that sampled each.

    A second pass adds up squared distances from the mean: a plain sum of squares loses small ones beside a large mean.
    """
    table = tables.episodes
    version = table.c.min_version
    each = (
        select(
            version.label("version"),
            table.c.reward,
            func.avg(table.c.reward).over(partition_by=version).label("mean"),
        )
        .where(table.c.project == project, table.c.kind == "side")
        .where(table.c.disposition.in_(EVALUATED), table.c.num_rewards > 0)
        .where(version == table.c.max_version)
        .subquery()
    )
    distance = each.c.reward - each.c.mean
    return (
        select(
            each.c.version,
            func.count().label("episodes"),
            func.avg(each.c.reward).label("mean_reward"),
            func.sum(distance * distance).label("squares"),
        )
        .group_by(each.c.version)
        .order_by(each.c.version)
    )


def to_row(settled: SettledEpisode) -> dict[str, object]:
    """A settled episode as a row; the disposition is `requeued` if it is live again."""
    header = settled.header
    return {name: getattr(header, name) for name in SHARED_COLUMNS} | {
        "disposition": header.disposition or "requeued",
        "reward": settled.reward,
        "sequence": settled.sequence,
    }
