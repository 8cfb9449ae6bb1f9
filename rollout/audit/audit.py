"""Recomputes from the store, the ledger and the disk that nothing is lost and nothing is trained twice.

The system may run meanwhile. Records are read in parts, and one may change between two reads. So what contradicts another record
is read again before it is reported. Counts are compared at one moment, or only if nothing moved while they were made.
"""

from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from datetime import UTC, datetime

import msgspec

from rollout.audit.counts import check_counts, check_dispositions
from rollout.audit.disk import check_disk
from rollout.audit.episodes import check_episode
from rollout.audit.groups import check_group
from rollout.audit.journal import JournalLine, check_journal
from rollout.audit.keyspace import EPISODE_INDEXES, GROUP_INDEXES, KeyNames, check_index
from rollout.audit.lineage import Lineage, TrainedOnce, check_marks, check_recorded
from rollout.audit.metrics import check_metrics, read_metrics
from rollout.audit.offender import Offender
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import LedgerEpisode, LedgerPolicy, TrainedEpisode
from rollout.policies import PolicyStore
from rollout.store.store import Store

Check = Callable[[], Awaitable[list[Offender]]]
PAGE = 50  # episodes, with all their turns, in one read
ATTEMPTS = 3  # to find a time in which nothing moves


class Report(msgspec.Struct, frozen=True):
    """What was compared, what could not be, and every offender."""

    project: str
    episodes: int  # in the store
    groups: int
    keys: int
    settled: int  # in the ledger
    trained: int  # of these, in the lineage of the newest policy
    journal_lines: int
    not_compared: tuple[str, ...]
    offenders: tuple[Offender, ...]


class Audit:
    """One audit of one project."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        *,
        policies: PolicyStore | None = None,
        journal: Iterable[JournalLine] = (),
        metrics_urls: Sequence[str] = (),
    ) -> None:
        self._store, self._ledger, self._policies = store, ledger, policies
        self._metrics_urls = metrics_urls
        self._journal: dict[str, list[JournalLine]] = defaultdict(list)
        for line in journal:
            self._journal[line.episode_id].append(line)
        self._names = KeyNames()
        self._lineage = Lineage.empty()
        self._weights: Mapping[str, float] = {}
        self._num_settled = self._num_trained = 0
        self._not_compared: set[str] = set()

    async def run(self) -> Report:
        """Read and compare everything. Raises StoreUnavailable, LedgerUnavailable."""
        self._weights = (await self._store.inspect_counts()).weights
        found = await twice(self._keys)
        found += await twice(self._history)
        for page in pages(self._names.episodes | self._journal.keys()):
            found += await twice(lambda page=page: self._episodes(page))  # type: ignore[misc]
        for page in pages(self._names.groups):
            found += await twice(lambda page=page: self._groups(page))  # type: ignore[misc]
        found += check_counts(await self._store.inspect_counts())
        found += await twice(self._disk)
        found += await self._at_rest("dispositions", self._dispositions)
        found += await self._at_rest("metrics", self._metrics)
        return Report(
            project=self._store.project,
            episodes=len(self._names.episodes),
            groups=len(self._names.groups),
            keys=self._names.num_keys,
            settled=self._num_settled,
            trained=self._num_trained,
            journal_lines=sum(map(len, self._journal.values())),
            not_compared=tuple(sorted(self._not_compared)),
            offenders=tuple(sorted(set(found), key=lambda each: (each.kind, each.id))),
        )

    async def _keys(self) -> list[Offender]:
        """Keys and entries of indexes that belong to nothing. Indexes are read first: what they name exists before."""
        indexed = {name: await self._index(name) for name in (*EPISODE_INDEXES, *GROUP_INDEXES)}
        self._names = KeyNames()
        async for some in self._store.key_names():
            self._names.add(some)
        found = self._names.offenders()
        for name, ids in indexed.items():
            known = self._names.episodes if name in EPISODE_INDEXES else self._names.groups
            found += check_index(name, ids, known)
        return found

    async def _index(self, name: str) -> set[str]:
        return {id_ async for ids in self._store.inspect_index(name) for id_ in ids}

    async def _history(self) -> list[Offender]:
        """Policies, steps and settled episodes of the ledger."""
        found = await self._read_lineage()
        once = TrainedOnce(self._lineage)
        async for trained in self._trained_pages():
            found += once.add(trained)
        self._num_settled = 0
        async for rows in self._row_pages():
            self._num_settled += len(rows)
            found += [offender for row in rows for offender in once.check_row(row)]
        self._num_trained = once.num_trained
        return found

    async def _read_lineage(self) -> list[Offender]:
        """A policy leaves the outbox after the ledger has it, so the ledger is read second."""
        recorded = await self._store.recorded_policy()
        waiting = [publication.policy for publication in await self._store.published()]
        ledger = await self._ledger.lineages(self._store.project)
        known = [LedgerPolicy(p.version, p.parent, abandoned=False) for p in waiting]
        known += [LedgerPolicy(recorded.version, recorded.parent, False)] if recorded else []
        self._lineage = Lineage.walk({p.version: p.parent for p in (*known, *ledger)})
        latest = await self._store.recorded_policy()
        found = check_recorded(self._lineage, None if latest is None else latest.version)
        # Policies in the outbox have not marked yet what they left.
        return found if found or waiting else check_marks(self._lineage, ledger)

    async def _episodes(self, ids: Sequence[str]) -> list[Offender]:
        """Each with itself, its group, the ledger, the lineage and the journal. The ledger is read after the store."""
        episodes = await self._store.inspect_episodes(ids)
        rows = await self._ledger.episodes(self._store.project, ids)
        if any(episode.trained_into > self._lineage.newest for episode in episodes):
            await self._read_lineage()
        found: list[Offender] = []
        for episode in episodes:
            row = rows.get(episode.id)
            found += check_episode(episode, row, self._weights)
            found += self._lineage.check("episode", episode.id, episode.trained_into)
            if episode.id in self._journal:
                found += check_journal(self._journal[episode.id], episode, row)
        return found

    async def _groups(self, ids: Sequence[str]) -> list[Offender]:
        groups = await self._store.inspect_groups(ids)
        return [offender for group in groups for offender in check_group(group)]

    async def _disk(self) -> list[Offender]:
        if self._policies is None:
            return []
        known = {await self._store.recorded_policy(), await self._store.policy()} - {None}
        reserved = (await self._store.inspect_counts()).version
        return check_disk(
            self._policies, [policy for policy in known if policy], reserved_version=reserved
        )

    async def _dispositions(self) -> list[Offender]:
        """What waits in the outbox counts as the store has it, everything else as the ledger has it."""
        waiting: dict[str, int | None] = {}
        recorded = Counter(await self._ledger.earlier_dispositions(self._store.project))
        for page in pages(await self._index("settled")):
            for episode in await self._store.inspect_episodes(page):
                waiting[episode.id] = episode.number("created")
                recorded[episode.disposition] += 1
        async for rows in self._row_pages():
            for row in rows:
                recorded[row.disposition] += waiting.get(row.id) != row.created_ms
        totals = (await self._store.inspect_counts()).totals
        if restored := totals.get("restored"):
            since = datetime.fromtimestamp(int(restored) / 1000, UTC)
            self._not_compared.add(
                f"totals: Redis lost data, and counts anew since {since:%F %T} UTC"
            )
        return check_dispositions(totals, recorded)

    async def _metrics(self) -> list[Offender]:
        totals = (await self._store.inspect_counts()).totals
        found: list[Offender] = []
        for url in self._metrics_urls:
            found += check_metrics(url, await read_metrics(url, self._store.project), totals)
        return found

    async def _at_rest(self, what: str, check: Check) -> list[Offender]:
        """Check counts that are made in several reads, while the totals stay as they are."""
        for _ in range(ATTEMPTS):
            before = (await self._store.inspect_counts()).totals
            found = await check()
            if (await self._store.inspect_counts()).totals == before:
                return found
        self._not_compared.add(f"{what}: episodes changed while they were counted")
        return []

    async def _trained_pages(self) -> AsyncIterator[list[TrainedEpisode]]:
        page: list[TrainedEpisode] = []
        while page := await self._ledger.trained_episodes(
            self._store.project, after=page[-1] if page else None
        ):
            yield page

    async def _row_pages(self) -> AsyncIterator[list[LedgerEpisode]]:
        after = ""
        while page := await self._ledger.episodes_after(self._store.project, after):
            yield page
            after = page[-1].id


async def twice(check: Check) -> list[Offender]:
    """Check, and check again what was found: only what both times is wrong with the same record is reported."""
    first = await check()
    if not first:
        return []
    suspects = {(offender.kind, offender.id) for offender in first}
    return [offender for offender in await check() if (offender.kind, offender.id) in suspects]


def pages(ids: Iterable[str]) -> Iterator[list[str]]:
    """The ids in order, PAGE at a time."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), PAGE):
        yield ordered[start : start + PAGE]
