"""What the trainer records: its state in the store; steps, policies and swaps in the ledger.

Training does not wait for SQL: records that could not be written are kept and written before the next one.
"""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from rollout.catching_up import catch_up
from rollout.engine.swap import Swap
from rollout.errors import LedgerUnavailable, ValueRefused
from rollout.ledger.ledger import Ledger
from rollout.ledger.records import SwapRecord, TrainingStep
from rollout.policies import Policy, PolicyStore
from rollout.settler import settle
from rollout.store.store import Store
from trainer.async_bridge import AsyncBridge

log = logging.getLogger("trainer.training_records")

MOST_PENDING = 10_000  # in a long outage older records are dropped, so that memory stays bounded


class TrainingRecords:
    """Rank 0 only."""

    def __init__(self, store: Store, ledger: Ledger, bridge: AsyncBridge, *, project: str) -> None:
        self._store, self._ledger, self._bridge = store, ledger, bridge
        self._project = project
        self._pending: deque[Callable[[], Awaitable[object]]] = deque(maxlen=MOST_PENDING)
        self._last_step = time.monotonic()

    def settle(self) -> None:
        """Move what the store has settled and recorded to the ledger: episodes, then the policy that they were trained into."""
        self._write(partial(settle, self._store, self._ledger))

    def catch_up(self, policies: PolicyStore, *, restorable: int | None) -> None:
        """If the store was restored from an older copy, bring it up to what ledger and disk know."""
        self._write(partial(catch_up, self._store, self._ledger, policies, restorable=restorable))

    def step(self, step: int, policy: Policy, metrics: dict[str, float]) -> None:
        """Record the batch that ended with this optimizer step. Callers that are refused wait for `step_seconds` of it."""
        now = time.monotonic()
        state: dict[str, str | int | float] = {
            **metrics,
            "step": step,
            "version": policy.version,
            "staleness": metrics["staleness_median"],
            "step_seconds": round(now - self._last_step, 3),
        }
        self._last_step = now
        self._bridge.call(self._store.set_training, state)
        record = TrainingStep(step, policy.version, metrics, policy.created)
        self.settle()
        self._write(partial(self._ledger.record_step, self._project, record))

    def swaps(self, swaps: Sequence[Swap]) -> None:
        """Record which engines loaded a policy."""
        now = int(time.time())
        records = [
            SwapRecord(s.version, s.engine, s.gap_seconds, s.ok, s.error or "", now) for s in swaps
        ]
        if records:
            self._write(partial(self._ledger.record_swaps, self._project, records))

    def _write(self, record: Callable[[], Awaitable[object]]) -> None:
        self._pending.append(record)
        try:
            while self._pending:
                self._write_or_leave_out(self._pending[0])
                self._pending.popleft()
        except LedgerUnavailable as error:
            log.warning(
                "ledger unavailable", extra={"error": str(error), "pending": len(self._pending)}
            )

    def _write_or_leave_out(self, record: Callable[[], Awaitable[object]]) -> None:
        """A record that no column holds is not tried again: it would keep all later ones waiting."""
        try:
            self._bridge.call(record)
        except ValueRefused as error:
            log.error("record refused by the ledger", extra={"error": str(error)})
