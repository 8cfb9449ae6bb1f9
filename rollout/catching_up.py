"""Brings a store that was restored from an older copy, or that lost its data, up to what ledger and disk know.

Otherwise its counters would give out policy versions and sequences a second time, and episodes that the copy has as untrained
would be trained again.
"""

import logging

from rollout.errors import PolicyDamaged
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import LedgerPolicy, TrainedEpisode
from rollout.policies import Policy, PolicyStore
from rollout.store.store import Store

log = logging.getLogger(__name__)

PAGE = 500  # episodes that one transition forgets


async def raise_counters(store: Store, ledger: Ledger, *, version: int = 0) -> None:
    """The ledger replaces a row only by one with a later sequence, so the store counts from the ledger's latest."""
    policies = await ledger.lineages(store.project)
    newest = max([version, *(policy.version for policy in policies)])
    await store.raise_counters(await ledger.latest_sequence(store.project), version=newest)


async def catch_up(
    store: Store, ledger: Ledger, policies: PolicyStore, *, restorable: int | None = None
) -> Policy | None:
    """Record the newest policy that the store has forgotten, and forget what was trained up to it; None if it has the newest.

    With checkpoints, training can continue from versions up to `restorable` only. What was trained after it trains again.
    """
    await raise_counters(store, ledger, version=max(policies.versions(), default=0))
    recorded = await store.recorded_policy()
    known = -1 if recorded is None else recorded.version
    lineage = [p for p in await ledger.lineages(store.project) if not p.abandoned]
    forgotten = [
        each
        for each in lineage
        if known < each.version <= (each.version if restorable is None else restorable)
    ]
    newest = newest_on_disk(policies, forgotten)
    if newest is None:
        return None
    versions = {each.version for each in lineage}
    num_forgotten = 0
    page: list[TrainedEpisode] = []
    after = TrainedEpisode(known + 1, "", 0)
    while page := await ledger.trained_episodes(store.project, after=after, limit=PAGE):
        ids = [e.episode_id for e in page if e.version in versions and e.version <= newest.version]
        num_forgotten += await store.forget_trained(ids)
        after = page[-1]
    await store.record_policy(newest)
    fields = {"recorded": known, "newest": newest.version, "forgotten_episodes": num_forgotten}
    log.warning("the store is older than the ledger", extra=fields)
    return newest


def newest_on_disk(policies: PolicyStore, candidates: list[LedgerPolicy]) -> Policy | None:
    """The newest policy of the lineage whose files are there."""
    for each in reversed(candidates):
        try:
            return policies.policy(each.version)
        except PolicyDamaged:
            continue
    return None
