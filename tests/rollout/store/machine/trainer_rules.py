"""What trainers do: take over, claim, acknowledge, discard, and go back to a checkpoint."""

from typing import TypedDict, get_args

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from rollout.episode.advantages import Credit
from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import Claim, JudgedBy
from rollout.errors import Superseded
from rollout.policies import Policy
from tests.rollout.store.machine.caller import Caller, owners, versions
from tests.rollout.store.model.records import TOKENS_A_TURN


class Freshness(TypedDict):
    version: int
    max_staleness: int
    judged_by: JudgedBy


class TrainerRules(Caller):
    """Each rule is a call of one of two trainers."""

    @rule(owner=owners)
    def take_over(self, owner: str) -> None:
        """The others' claims are lost."""
        self.model.take_over(owner)
        self.change(lambda store: store.take_over(owner))

    @rule(owner=owners, version=versions)
    def train(self, owner: str, version: int) -> None:
        """The usual calls of a trainer."""
        self.try_claim(owner, 2, Freshness(version=version, max_staleness=6, judged_by="oldest"))
        if any(self.claimed[owner]):
            self.ack(owner=owner, long=0)

    @rule(
        owner=owners,
        groups=st.integers(1, 3),
        version=versions,
        staleness=st.integers(1, 6),
        judged_by=st.sampled_from(get_args(JudgedBy)),
    )
    def claim(
        self, *, owner: str, groups: int, version: int, staleness: int, judged_by: JudgedBy
    ) -> None:
        how = Freshness(version=version, max_staleness=staleness, judged_by=judged_by)
        self.try_claim(owner, groups, how)

    def try_claim(self, owner: str, groups: int, how: Freshness) -> None:
        expected = self.model.claim(owner, groups, lease=30, **how)
        claims = self.do(lambda store: store.claim(owner, groups=groups, lease_seconds=30, **how))
        if expected is Superseded:
            assert claims is Superseded
            return
        assert [claim.group_id for claim in claims] == expected
        for claim in claims:
            self.look_at(claim)
        self.claimed[owner] += expected

    def look_at(self, claim: Claim) -> None:
        assert claim.deliveries == self.model.groups[claim.group_id].deliveries
        for view in claim.episodes:
            known = self.model.episodes[view.header.id]
            assert [t.id for t in view.turns] == known.turns
            assert view.rewards.total == sum(known.rewards.values())

    @rule(owner=owners)
    def renew(self, owner: str) -> None:
        ids = self.claimed[owner]
        expected = self.model.renew(owner, ids, 40)
        self.agree(lambda store: store.renew(owner, ids, lease_seconds=40), expected)

    @rule(owner=owners)
    def release(self, owner: str) -> None:
        ids, self.claimed[owner] = self.claimed[owner], []
        self.model.release(owner, ids)
        self.agree(lambda store: store.release(owner, ids), None)

    @precondition(lambda self: any(self.claimed.values()))
    @rule(owner=owners, long=st.integers(1, 4))
    def ack(self, owner: str, long: int) -> None:
        ids, self.claimed[owner] = self.claimed[owner], []
        self.version += 1
        policy = Policy(self.version, f"/weights/{self.version}", None, "digest", 0)
        overlong = {e.id for e in self.model.episodes.values() if len(e.versions) == long}
        credit = self.credit(overlong)
        expected = self.model.ack(owner, ids, self.version, overlong=overlong)
        self.agree(lambda store: store.ack(owner, ids, policy, credit=credit), expected)
        recorded = self.do(lambda store: store.policy())
        assert (recorded == policy) is (expected is None)

    def credit(self, overlong: set[str]) -> dict[str, Credit]:
        return {
            episode.id: Credit(
                b"",
                TOKENS_A_TURN * len(episode.versions),
                DiscardReason.OVERLONG if episode.id in overlong else None,
            )
            for episode in self.model.episodes.values()
        }

    @precondition(lambda self: any(self.claimed.values()))
    @rule(owner=owners, reason=st.sampled_from([DiscardReason.OVERLONG, DiscardReason.FAILED]))
    def discard(self, owner: str, reason: DiscardReason) -> None:
        ids, self.claimed[owner] = self.claimed[owner], []
        expected = self.model.discard(owner, ids, reason)
        self.agree(lambda store: store.discard(owner, ids, reason=reason), expected)

    @rule(back=st.integers(0, 3))
    def restore(self, back: int) -> None:
        version = self.version - back
        expected = self.model.restore(version)
        num_lost = self.num_lost
        again = set(self.change(lambda store: store.restore(version)))
        assert again == expected or (self.num_lost > num_lost and not again)

    @rule(back=st.integers(0, 3))
    def checkpointed(self, back: int) -> None:
        version = self.version - back
        self.model.checkpointed(version)
        self.change(lambda store: store.checkpointed(version))
