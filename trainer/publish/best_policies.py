"""The policies that held-out episodes found best, which are kept however old they are.

The ledger is asked anew each time, so that nothing is forgotten by a crash. Weights that are gone take no place: of those on disk
the best stay, and a version that was scored only after its age had deleted it stays deleted.
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
        self._seen = self._look()

    def among(self, versions: Collection[int]) -> frozenset[int]:
        """Those of these versions to keep."""
        order = ranked(self._evaluations(), min_episodes=self._min_episodes)
        return frozenset([version for version in order if version in versions][: self._kept])

    def evaluated(self) -> frozenset[int]:
        """Versions that anything was ever heard of; they have been served, whatever Redis remembers."""
        return frozenset(each.version for each in self._evaluations())

    def _evaluations(self) -> list[Evaluation]:
        """Training does not wait for SQL: without it, what it said last."""
        try:
            self._seen = self._look()
        except LedgerUnavailable as error:
            log.warning("ledger unavailable", extra={"error": str(error)})
        return self._seen

    def _look(self) -> list[Evaluation]:
        return self._bridge.call(self._ledger.evaluations, self._project)
