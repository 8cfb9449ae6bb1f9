"""Whatever happens to a project, in any order, with trainers that die and restore: its audit finds nothing."""

import asyncio
import struct
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from rollout.audit.audit import Audit
from rollout.episode.advantages import Credit
from rollout.episode.episode_status import DiscardReason
from rollout.ledger.database import Database
from rollout.ledger.ledger import Ledger
from rollout.policies import Policy
from rollout.settler import settle
from tests.profiles import examples
from tests.rollout.store.machine.caller import owners
from tests.rollout.store.model.records import TOKENS_A_TURN
from tests.rollout.store.test_store_model import StoreMachine

ADVANTAGE = struct.pack("<f", 0.5)


class AuditedMachine(StoreMachine):
    """The random transitions of the store, with a ledger and the lineage of a trainer that publishes and restores."""

    def __init__(self, redis_url: str, ledger_file: Path) -> None:
        super().__init__(redis_url)
        self.ledger = Ledger(Database.connect(f"sqlite:///{ledger_file}"))
        self.lineage = [0]  # of the policy recorded last
        self.checkpoint = 0  # the latest version that a trainer can restore
        self.record(0, None)

    def record(self, version: int, parent: int | None) -> None:
        policy = Policy(version, "", parent, "digest", 7)
        self.do(lambda store: store.record_policy(policy))

    def teardown(self) -> None:
        try:
            self.audit()
        finally:
            self.runner.run(self.ledger.close())
            super().teardown()

    @precondition(lambda self: any(self.claimed.values()))
    @rule(owner=owners, long=st.integers(1, 4))
    def ack(self, owner: str, long: int) -> None:
        ids, self.claimed[owner] = self.claimed[owner], []
        if not ids:
            return
        self.version += 1
        overlong = {e.id for e in self.model.episodes.values() if len(e.versions) == long}
        credit = {
            e.id: Credit(
                ADVANTAGE,
                TOKENS_A_TURN * len(e.versions),
                DiscardReason.OVERLONG if e.id in overlong else None,
            )
            for e in self.model.episodes.values()
        }
        policy = Policy(self.version, "", self.lineage[-1], "digest", 7)
        expected = self.model.ack(owner, ids, self.version, overlong=overlong)
        step = self.version
        self.agree(lambda store: store.ack(owner, ids, policy, step=step, credit=credit), expected)
        if expected is None:
            self.lineage.append(self.version)

    @rule(back=st.integers(0, 3))
    def restore(self, back: int) -> None:
        """A trainer restores a version, dies before it records its policy, and restores it again."""
        at = max(len(self.lineage) - 1 - back, self.lineage.index(self.checkpoint))
        target, self.lineage = self.lineage[at], self.lineage[: at + 1]
        expected = self.model.restore(target)
        assert set(self.do(lambda store: store.restore(target))) == expected
        assert self.do(lambda store: store.restore(target)) == []
        self.version += 1
        self.record(self.version, target)
        self.lineage.append(self.version)
        self.claimed = {owner: [] for owner in self.claimed}

    @rule(back=st.integers(0, 3))
    def checkpointed(self, back: int) -> None:
        at = max(len(self.lineage) - 1 - back, self.lineage.index(self.checkpoint))
        self.checkpoint = self.lineage[at]
        self.model.checkpointed(self.checkpoint)
        self.do(lambda store: store.checkpointed(self.checkpoint))

    @rule()
    def drain(self) -> None:
        self.model.drain()
        self.do(lambda store: settle(store, self.ledger))

    @rule()
    def audit(self) -> None:
        report = self.do(lambda store: Audit(store, self.ledger).run())
        assert report.offenders == ()
        assert report.not_compared == ()


def test_no_random_life_has_offenders(redis_url: str) -> None:
    """Opened, played, claimed, trained, restored, deleted, expired and settled in any order: the audit agrees each time."""
    with tempfile.TemporaryDirectory() as directory:
        empty = Path(directory) / "empty.db"
        asyncio.run(migrated(empty))

        def machine() -> AuditedMachine:
            file = Path(tempfile.mkstemp(dir=directory)[1])
            file.write_bytes(empty.read_bytes())
            return AuditedMachine(redis_url, file)

        run_state_machine_as_test(machine, settings=settings(examples(0.1), stateful_step_count=40))


async def migrated(file: Path) -> None:
    ledger = await Ledger.open(f"sqlite:///{file}")
    await ledger.close()
