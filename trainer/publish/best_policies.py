"""The policies with the best held-out rewards, which are kept on disk whatever their age.

The ledger is read each time, so a crash loses nothing. Only versions on disk are ranked: a version that was deleted before it was
evaluated does not come back and uses no place.
"""

import logging
from collections.abc import Collection

from rollout.errors import LedgerUnavailable
from rollout.ledger.evaluation import Evaluation, ranked
from rollout.ledger.ledger import Ledger
from trainer.async_bridge import AsyncBridge

log = logging.getLogger("trainer.best_policies")


class BestPolicies:
    """Rank 0 only."""

    def __init__(
        self, ledger: Ledger, bridge: AsyncBridge, *, project: str, kept: int, min_episodes: int
    ) -> None:
        self._ledger, self._bridge = ledger, bridge
        self._project = project
        self._kept = kept
        self._min_episodes = min_episodes
        self._last_known = bridge.call_with_ledger(ledger.evaluations, project)

    def among(self, versions: Collection[int]) -> frozenset[int]:
        """The best of these versions, at most `kept`."""
        order = ranked(self._evaluations(), min_episodes=self._min_episodes)
        return frozenset([version for version in order if version in versions][: self._kept])

    def evaluated(self) -> frozenset[int]:
        """All versions with evaluations. They have been served, even if Redis has lost its data."""
        return frozenset(each.version for each in self._evaluations())

    def _evaluations(self) -> list[Evaluation]:
        """Training does not wait for SQL: if it is down, the last known evaluations."""
        try:
            self._last_known = self._read()
        except LedgerUnavailable as error:
            log.warning("ledger unavailable", extra={"error": str(error)})
        return self._last_known

    def _read(self) -> list[Evaluation]:
        return self._bridge.call(self._ledger.evaluations, self._project)
