"""Any interleaving of the store's transitions agrees with a plain-Python model, and the totals always add up."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable
from typing import Any, TypeVar, get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from rollout.episode.advantages import Credit
from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.episode_status import DiscardReason
from rollout.episode.group import JudgedBy
from rollout.episode.reward import Reward
from rollout.episode.turn import encode_turn
from rollout.errors import StoreError
from rollout.policies import Policy
from rollout.store.store import Store
from rollout.store.transitions import Timings
from tests.profiles import examples
from tests.rollout.clock import Clock
from tests.rollout.store.model.model import Model
from tests.rollout.store.model.records import TOKENS_A_TURN
from tests.rollout.turns import output, turn

T = TypeVar("T")
TIMINGS = Timings(idle=100, grace=10, retention=150, reward_deadline=60, silence=20)
LIMIT, SHARE = 14, 9
OUTPUT = range(2, 2 + TOKENS_A_TURN)

picks = st.integers(0, 5)  # which of the episodes there are, counted from the newest
group_ids = st.sampled_from([None, "g1", "g2", "g3", "g4"])
sizes = st.sampled_from([None, 1, 2, 3])
kinds = st.sampled_from(["train", "train", "train", "side"])
keys = st.sampled_from(["key_1", "key_2"])
owners = st.sampled_from(["ann", "bob"])
versions = st.integers(0, 6)


class StoreMachine(RuleBasedStateMachine):
    """Applies each transition to the store and to the model."""

    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self.redis_url = redis_url
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.store = Store.connect(
            redis_url, project=uuid.uuid4().hex, timings=TIMINGS, clock=self.clock
        )
        self.model = Model(TIMINGS, LIMIT, SHARE)
        self.model.now = self.clock.now
        self.claimed: dict[str, list[str]] = {"ann": [], "bob": []}
        self.version = 10
        self.num_opened = 0
        limits = {"max_live_episodes": LIMIT, "max_live_episodes_per_key": SHARE}
        self.do(self.store.prepare())
        self.do(self.store.set_training(limits))

    def do(self, call: Awaitable[T]) -> T | type[StoreError]:
        async def answer() -> T | type[StoreError]:
            try:
                return await call
            except StoreError as error:
                return type(error)

        return self.runner.run(answer())

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()

    def new(self) -> str:
        self.num_opened += 1
        return f"ep_{self.num_opened:04}"

    def pick(self, pick: int) -> str:
        """An episode that exists, or sometimes one that does not."""
        known = sorted(self.model.episodes)[::-1]
        return known[pick] if pick < len(known) else "ep_none"

    @rule(group=group_ids, size=sizes, kind=kinds, key=keys)
    def open(self, group: str | None, size: int | None, kind: str, key: str) -> None:
        self.try_open(spec_of(self.new(), group, size, kind=kind, key=key))

    def try_open(self, spec: EpisodeSpec) -> None:
        self.agree(self.store.open(spec), self.model.open(spec))

    @rule(
        group=group_ids,
        size=sizes,
        played=st.lists(
            st.sampled_from(["rewarded", "rewarded", "sealed", "open", "begun"]), max_size=3
        ),
        version=versions,
        key=keys,
    )
    def play(
        self, *, group: str | None, size: int | None, played: list[str], version: int, key: str
    ) -> None:
        """The usual calls of an agent, so that rare transitions have episodes to act on."""
        for fate in played:
            name = self.new()
            spec = spec_of(name, group, size, key=key)
            if fate == "begun":
                self.try_begin(spec)
                self.agree(self.store.seal(name), self.model.seal(name, "succeeded"))
                continue
            self.try_open(spec)
            self.try_commit(name, 0, version, "train")
            if fate == "rewarded":
                self.give(name, None, 1, complete=True)
            elif fate == "sealed":
                self.agree(self.store.seal(name), self.model.seal(name, "succeeded"))

    @rule(owner=owners, version=versions)
    def train(self, owner: str, version: int) -> None:
        """The usual calls of a trainer."""
        self.claim(owner=owner, groups=2, version=version, staleness=6, judged_by="oldest")
        if any(self.claimed[owner]):
            self.ack(owner=owner, long=0)

    @rule(pick=picks, group=group_ids, size=sizes, kind=kinds, key=keys)
    def begin(self, *, pick: int, group: str | None, size: int | None, kind: str, key: str) -> None:
        self.try_begin(spec_of(self.pick(pick), group, size, kind=kind, key=key))

    @rule(is_known=st.booleans(), pick=picks, key=keys, version=versions, is_rewarded=st.booleans())
    def chat(self, *, is_known: bool, pick: int, key: str, version: int, is_rewarded: bool) -> None:
        """A call of a client that names neither episode nor group."""
        name = self.pick(pick) if is_known else self.new()
        self.try_begin(spec_of(name, None, None, key=key, is_named=False))
        self.try_commit(name, 0, version, "train")
        if is_rewarded:
            self.give(name, None, 1, complete=True)

    def try_begin(self, spec: EpisodeSpec) -> None:
        expected = self.model.begin(spec)
        began = self.do(self.store.begin(spec, since=0))
        if expected is None:
            assert len(began.turns) == len(self.model.episodes[spec.id].turns)
        else:
            assert began is expected

    @rule(pick=picks, attempt=st.sampled_from("abc"))
    def withdraw(self, pick: int, attempt: str) -> None:
        name = self.pick(pick)
        withdrawal = self.store.withdraw(name, Attempt(attempt))
        self.agree(withdrawal, self.model.withdraw(name, attempt))

    @rule(pick=picks, ordinal=st.integers(0, 3), version=versions, kind=kinds)
    def commit(self, pick: int, ordinal: int, version: int, kind: str) -> None:
        self.try_commit(self.pick(pick), ordinal, version, kind)

    def try_commit(self, name: str, ordinal: int, version: int, kind: str) -> None:
        made = turn(f"{name}-{ordinal}", [1], output(OUTPUT, version=version), kind=kind)
        expected = self.model.commit(name, made.id, version, kind)
        answer = self.do(self.store.commit(name, made, encoded=encode_turn(made)))
        if expected is None:
            assert answer == self.model.episodes[name].turns.index(made.id)
        else:
            assert answer is expected

    @rule(pick=picks, ordinal=st.none() | st.integers(0, 1), value=st.integers(-4, 4))
    def reward(self, pick: int, ordinal: int | None, value: int) -> None:
        self.give(self.pick(pick), ordinal, value, complete=False)

    @rule(pick=picks, value=st.integers(-4, 4))
    def reward_and_complete(self, pick: int, value: int) -> None:
        self.give(self.pick(pick), None, value, complete=True)

    def give(self, name: str, ordinal: int | None, value: int, *, complete: bool) -> None:
        target = None if ordinal is None else f"{name}-{ordinal}"
        expected = self.model.reward(name, target, value, complete)
        reward = Reward(value, turn_id=target)
        self.agree(self.store.reward(name, reward, complete=complete), expected)

    @rule(pick=picks, outcome=st.sampled_from(["succeeded", "failed", "aborted"]))
    def seal(self, pick: int, outcome: str) -> None:
        name = self.pick(pick)
        self.agree(self.store.seal(name, outcome=outcome), self.model.seal(name, outcome))

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        name = self.pick(pick)
        self.agree(self.store.delete(name), self.model.delete(name))

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
        how: dict[str, Any] = {
            "version": version,
            "max_staleness": staleness,
            "judged_by": judged_by,
        }
        expected = self.model.claim(owner, groups, lease=30, **how)
        claims = self.do(self.store.claim(owner, groups=groups, lease_seconds=30, **how))
        assert [claim.group_id for claim in claims] == expected
        for claim in claims:
            group = self.model.groups[claim.group_id]
            assert claim.deliveries == group.deliveries
            for view in claim.episodes:
                known = self.model.episodes[view.header.id]
                assert [t.id for t in view.turns] == known.turns
                assert view.rewards.total == sum(known.rewards.values())
        self.claimed[owner] += expected

    @rule(owner=owners)
    def renew(self, owner: str) -> None:
        ids = self.claimed[owner]
        self.agree(self.store.renew(owner, ids, lease_seconds=40), self.model.renew(owner, ids, 40))

    @rule(owner=owners)
    def release(self, owner: str) -> None:
        ids, self.claimed[owner] = self.claimed[owner], []
        self.agree(self.store.release(owner, ids), self.model.release(owner, ids))

    @precondition(lambda self: any(self.claimed.values()))
    @rule(owner=owners, long=st.integers(1, 4))
    def ack(self, owner: str, long: int) -> None:
        ids, self.claimed[owner] = self.claimed[owner], []
        self.version += 1
        policy = Policy(self.version, f"/weights/{self.version}", None, "digest", 0)
        overlong = {e.id for e in self.model.episodes.values() if len(e.versions) == long}
        credit = {
            episode.id: Credit(
                b"",
                TOKENS_A_TURN * len(episode.versions),
                DiscardReason.OVERLONG if episode.id in overlong else None,
            )
            for episode in self.model.episodes.values()
        }
        expected = self.model.ack(owner, ids, self.version, overlong=overlong)
        self.agree(self.store.ack(owner, ids, policy, credit=credit), expected)
        recorded = self.do(self.store.policy())
        assert (recorded == policy) is (expected is None)

    @precondition(lambda self: any(self.claimed.values()))
    @rule(owner=owners, reason=st.sampled_from([DiscardReason.OVERLONG, DiscardReason.FAILED]))
    def discard(self, owner: str, reason: DiscardReason) -> None:
        ids, self.claimed[owner] = self.claimed[owner], []
        expected = self.model.discard(owner, ids, reason)
        self.agree(self.store.discard(owner, ids, reason=reason), expected)

    @rule(back=st.integers(0, 3))
    def restore(self, back: int) -> None:
        expected = self.model.restore(self.version - back)
        assert set(self.do(self.store.restore(self.version - back))) == expected

    @rule(back=st.integers(0, 3))
    def checkpointed(self, back: int) -> None:
        self.model.checkpointed(self.version - back)
        self.do(self.store.checkpointed(self.version - back))

    @rule(seconds=st.sampled_from([1, 3, 9, 10, 11, 21, 31, 60, 61, 101, 151]), sweep=st.booleans())
    def let_time_pass(self, seconds: int, sweep: bool) -> None:
        self.clock.advance(seconds)
        self.model.now = self.clock.now
        if sweep:
            expected = self.model.sweep()
            assert self.do(self.store.sweep()) == expected

    @rule()
    def repair(self) -> None:
        """Deriving everything again changes nothing that is right."""
        assert self.do(self.store.repair()) == 0

    @rule(name=st.sampled_from(["totals", "forgotten", "holders", "turns", "episodes", "policy"]))
    def damage(self, name: str) -> None:
        """What is lost of these records is derived from the others, exactly."""
        prefix = f"turngate:{{{self.store.project}}}:"
        for command in (("DEL", prefix + name), ("SET", prefix + name, "garbage")):
            self.runner.run(self.raw(*command))
        assert self.do(self.store.repair()) == 1

    async def raw(self, *command: str) -> None:
        async with Redis.from_url(self.redis_url) as client:
            await client.execute_command(*command)

    @rule()
    def drain(self) -> None:
        expected = self.model.drain()
        settled = self.do(self.store.settled(limit=1000))
        told = {
            e.header.id: (e.header.disposition or "requeued", e.reward, e.header.num_rewards)
            for e in settled
        }
        assert told == expected
        self.do(self.store.settle_done(settled))

    @invariant()
    def episodes_agree(self) -> None:
        listed, _ = self.do(self.store.episodes(limit=1000))
        headers = [episode.header for episode in listed]
        found = {h.id: (h.status.value, h.disposition, h.num_turns, h.min_version) for h in headers}
        assert found == {
            e.id: (e.status, e.disposition, e.num_turns, min(e.versions, default=None))
            for e in self.model.episodes.values()
        }

    @invariant()
    def groups_agree(self) -> None:
        for group in self.model.groups.values():
            view = self.do(self.store.group(group.id))
            assert view.status == group.status
            assert view.num_rewarded == sum(
                self.model.episodes[name].status in ("rewarded", "claimed", "trained")
                for name in group.members
            )

    @invariant()
    def totals_add_up(self) -> None:
        totals = self.do(self.store.totals())
        assert totals.opened == self.model.opened
        assert totals.opened == sum(totals.live.values()) + sum(totals.dispositions.values())
        live = self.model.live()
        assert {status: n for status, n in totals.live.items() if n} == live
        assert totals.places.by_holder == self.model.holders
        assert totals.reserved_episodes == self.model.holders.total()
        assert totals.reward_sum == pytest.approx(self.model.reward_sum)
        assert totals.reward_count == self.model.reward_count
        assert Counter(totals.settled_tokens) == self.model.settled_tokens
        assert totals.delivered_tokens == self.model.delivered_tokens

    def agree(self, call: Awaitable[object], expected: type[StoreError] | None) -> None:
        answer = self.do(call)
        assert (answer if isinstance(answer, type) else None) is expected


def spec_of(
    name: str,
    group: str | None,
    size: int | None,
    *,
    kind: str = "train",
    key: str,
    is_named: bool = True,
) -> EpisodeSpec:
    return EpisodeSpec(
        name,
        group,
        size,
        kind=kind,
        key_id=key,
        is_named=is_named,
        max_group_size=4,
    )


def test_any_interleaving_agrees_with_the_model(redis_url: str) -> None:
    """After every transition the store's statuses, groups, deadlines, outbox and totals equal the model's."""
    run_state_machine_as_test(
        lambda: StoreMachine(redis_url),
        settings=settings(examples(0.4), stateful_step_count=40),
    )
