"""Writes, records and serves a policy, in an order that is safe if the process dies on any line.

    write     a complete directory appears under a new version,    died after: neither is recorded; removed at the next start
              and a checkpoint of the same weights
    ack       trained episodes and policy, one store transaction   died after: engines serve an older policy until the next start
    swap      engines that do not serve the recorded policy load it

Recording comes BEFORE the swap, so that no engine samples under a version that the store does not know. A full disk
stops training only, with an alert and growing waits: the engines continue to serve their policy.
"""

import itertools
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tenacity import AsyncRetrying, retry_if_result, wait_fixed
from torch import Tensor

from rollout.engine.engine import Engine
from rollout.engine.swap import Swap, reconcile
from rollout.errors import PolicyDamaged, PolicyNotWritten
from rollout.policies import Policy, PolicyStore
from rollout.store.store import Store
from trainer.async_bridge import AsyncBridge, Stopped
from trainer.learner.learner import Learner
from trainer.publish.adapter_files import write_adapter
from trainer.publish.best_policies import BestPolicies
from trainer.publish.training_records import TrainingRecords
from trainer.publish.weight_files import write_weights
from trainer.ranks import Ranks
from trainer.telemetry.report import Report

log = logging.getLogger("trainer.publish")

Tensors = Iterator[tuple[str, Tensor]]

ADAPTER = "adapter"
LOCK_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 60.0


class Publisher:
    """Every rank calls the same methods; rank 0 writes files and talks to engines."""

    def __init__(
        self,
        store: Store,
        bridge: AsyncBridge,
        ranks: Ranks,
        *,
        policies: PolicyStore,
        base_dir: Path,
        engines: Sequence[Engine],
        policies_kept: int,
        report: Report,
        records: TrainingRecords | None,
        best: BestPolicies | None,
    ) -> None:
        self._store, self._bridge, self._ranks = store, bridge, ranks
        self._report, self._records, self._best = report, records, best
        self._policies = policies
        self._base_dir = base_dir
        self._engines = engines
        self._policies_kept = policies_kept

    def adopt_starter(self, model_dir: Path) -> Policy:
        """Record the model that training starts from as version 0."""
        policy: Policy | None = None
        if self._ranks.is_primary:
            adopt = partial(self._policies.adopt, model_dir, created=int(time.time()))
            policy = self._bridge.write(adopt)
        policy = self._ranks.share(policy)
        assert policy is not None
        self.record(policy)
        return policy

    def reserve(self, parent: int) -> int:
        """A new version, the same on every rank."""
        return self._ranks.share(self._new_version(parent) if self._ranks.is_primary else 0)

    def write(self, learner: Learner, version: int, *, parent: int) -> Policy:
        """Export the learner's weights under this version; retry until the disk has space."""
        wait_seconds = 1.0
        while True:
            policy, is_stopping = self._ranks.share(self._attempt(learner, version, parent))
            if policy is not None:
                return policy
            if is_stopping:
                raise Stopped(f"policy {version} could not be written")
            self._bridge.wait(wait_seconds)
            wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)

    def record(self, policy: Policy) -> None:
        """Make it the current policy, with no trained episodes."""
        if self._ranks.is_primary:
            self._bridge.call(self._store.record_policy, policy)
        if self._records is not None:
            self._records.settle()

    def catch_up(self, *, restorable: int | None) -> None:
        """See `rollout/catching_up.py`; without a ledger there is nothing to catch up with."""
        if self._records is not None:
            self._records.catch_up(self._policies, restorable=restorable)

    def swap(self) -> None:
        """Load the policy that the store says to serve into every engine; an engine that fails is reported and skipped."""
        if not self._ranks.is_primary:
            return
        try:
            swaps = self._bridge.call(self._swap)
        except PolicyDamaged as error:  # engines go on with what they serve
            self._report.alert("swap", error=str(error))
            return
        if self._records is not None:
            self._records.swaps(swaps)
        for swap in swaps:
            if swap.ok:
                self._report.swapped(swap.engine, swap.gap_seconds)
            else:
                self._report.alert("swap", engine=swap.engine, error=swap.error)
        try:
            self._policies.prune(keep=self._policies_kept, pinned=self.pinned())
        except OSError as error:
            self._report.alert("publish", error=str(error))

    def is_best(self, version: int) -> bool:
        """Whether this version is among the best on held-out episodes; the same on every rank."""
        best = self._best_versions() if self._ranks.is_primary else frozenset()
        return self._ranks.share(version in best)

    def pinned(self) -> frozenset[int]:
        """Versions that are never deleted, for rank 0: the best ones, and the one to be served."""
        served = self._bridge.call(self._store.policy)
        pinned = frozenset() if served is None else frozenset({served.version})
        return pinned | self._best_versions()

    def remove_orphans(self, recorded: Policy) -> None:
        """Delete policies that were written and not recorded, because a trainer died in between.

        Evaluated versions are kept: they were recorded before Redis lost its data.
        """
        if not self._ranks.is_primary:
            return
        evaluated = frozenset() if self._best is None else self._best.evaluated()
        for version in self._policies.versions():
            if version > recorded.version and version not in evaluated:
                shutil.rmtree(self._policies.policy(version).path)
                log.info("orphaned policy removed", extra={"version": version})

    def _new_version(self, parent: int) -> int:
        """From the store's counter, and above all versions on disk and in the ledger, which a Redis without its data does not know."""
        evaluated = frozenset() if self._best is None else self._best.evaluated()
        newest = max([parent, *self._policies.versions(), *evaluated])
        while (version := self._bridge.call(self._store.next_version)) <= newest:
            pass
        return version

    def _attempt(self, learner: Learner, version: int, parent: int) -> tuple[Policy | None, bool]:
        tensors, factors = learner.export(), learner.export_adapters()
        if not self._ranks.is_primary:
            _take_part(tensors, factors)
            return None, False
        try:
            policy = self._policies.write(
                version,
                parent=parent,
                base_dir=self._base_dir,
                write_weights=lambda directory: _write(directory, learner, tensors, factors),
                created=int(time.time()),
            )
        except PolicyNotWritten as error:
            _take_part(tensors, factors)
            self._report.alert("publish", version=version, error=str(error))
            return None, self._bridge.is_stopping
        return policy, False

    async def _swap(self) -> list[Swap]:
        is_locked = retry_if_result(lambda swaps: swaps is None and not self._bridge.is_stopping)
        waiting = AsyncRetrying(retry=is_locked, wait=wait_fixed(LOCK_WAIT_SECONDS))
        return await waiting(reconcile, self._engines, self._store) or []

    def _best_versions(self) -> frozenset[int]:
        """The best versions on disk."""
        return frozenset() if self._best is None else self._best.among(self._policies.versions())


def _write(directory: Path, learner: Learner, tensors: Tensors, factors: Tensors) -> None:
    """The whole policy, which every engine can load, and beside it its adapter, if one trains."""
    write_weights(directory, tensors)
    if learner.lora is not None:
        # In a directory of its own: otherwise a reader would take it for the policy's weights.
        (directory / ADAPTER).mkdir()
        write_adapter(directory / ADAPTER, factors, learner.lora, base_dir=learner.base_dir)


def _take_part(*exports: Tensors) -> None:
    """Consume the tensors: making each one is a collective call, also if it is not written."""
    for _ in itertools.chain(*exports):
        pass
