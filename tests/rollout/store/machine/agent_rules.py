"""What agents do: open episodes, take turns, reward, seal and delete."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import Reward
from rollout.episode.turn import encode_turn
from tests.rollout.store.machine.caller import Caller, picks, versions
from tests.rollout.store.model.records import TOKENS_A_TURN
from tests.rollout.turns import output, turn

OUTPUT = range(2, 2 + TOKENS_A_TURN)

group_ids = st.sampled_from([None, "g1", "g2", "g3", "g4"])
sizes = st.sampled_from([None, 1, 2, 3])
kinds = st.sampled_from(["train", "train", "train", "side"])
keys = st.sampled_from(["key_1", "key_2"])
fates = st.sampled_from(["rewarded", "rewarded", "sealed", "open", "begun"])


class AgentRules(Caller):
    """Each rule is a call of an agent, or the usual calls in their order."""

    @rule(group=group_ids, size=sizes, kind=kinds, key=keys)
    def open(self, group: str | None, size: int | None, kind: str, key: str) -> None:
        self.try_open(spec_of(self.new(), group, size, kind=kind, key=key))

    @rule(
        group=group_ids,
        size=sizes,
        played=st.lists(fates, max_size=3),
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
                self.try_seal(name, "succeeded")
                continue
            self.try_open(spec)
            self.try_commit(name, 0, version, "train")
            if fate == "rewarded":
                self.give(name, None, 1, complete=True)
            elif fate == "sealed":
                self.try_seal(name, "succeeded")

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

    @rule(key=keys, version=versions, kind=kinds, is_rewarded=st.booleans())
    def chat_once(self, *, key: str, version: int, kind: str, is_rewarded: bool) -> None:
        """The first call of a client that names neither episode nor group: its commit opens the episode."""
        name = self.new()
        spec = spec_of(name, None, None, kind=kind, key=key, is_named=False)
        made = turn(f"{name}-0", [1], output(OUTPUT, version=version), kind=kind)
        assert self.model.open(spec) is None
        assert self.model.commit(name, made.id, version, kind) is None
        num_lost = self.num_lost
        ordinal, opened = self.change(
            lambda store: store.commit_first(spec, made, encoded=encode_turn(made))
        )
        assert ordinal == 0
        assert opened is not None or self.num_lost > num_lost
        if is_rewarded:
            self.give(name, None, 1, complete=True)

    @rule(pick=picks, attempt=st.sampled_from("abc"))
    def withdraw(self, pick: int, attempt: str) -> None:
        name = self.pick(pick)
        expected = self.model.withdraw(name, attempt)
        self.agree(lambda store: store.withdraw(name, Attempt(attempt)), expected)

    @rule(pick=picks, ordinal=st.integers(0, 3), version=versions, kind=kinds)
    def commit(self, pick: int, ordinal: int, version: int, kind: str) -> None:
        self.try_commit(self.pick(pick), ordinal, version, kind)

    @rule(pick=picks, ordinal=st.none() | st.integers(0, 1), value=st.integers(-4, 4))
    def reward(self, pick: int, ordinal: int | None, value: int) -> None:
        self.give(self.pick(pick), ordinal, value, complete=False)

    @rule(pick=picks, value=st.integers(-4, 4))
    def reward_and_complete(self, pick: int, value: int) -> None:
        self.give(self.pick(pick), None, value, complete=True)

    @rule(pick=picks, outcome=st.sampled_from(["succeeded", "failed", "aborted"]))
    def seal(self, pick: int, outcome: str) -> None:
        self.try_seal(self.pick(pick), outcome)

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        name = self.pick(pick)
        expected = self.model.delete(name)
        self.agree(lambda store: store.delete(name), expected)

    def try_open(self, spec: EpisodeSpec) -> None:
        expected = self.model.open(spec)
        self.agree(lambda store: store.open(spec), expected)

    def try_begin(self, spec: EpisodeSpec) -> None:
        call = self.new_call()
        expected = self.model.begin(spec)
        attempt = Attempt(f"attempt at {call}", call, "digest")
        began = self.change(lambda store: store.begin(spec, since=0, attempt=attempt))
        if expected is None:
            assert len(began.turns) == len(self.model.episodes[spec.id].turns)
        else:
            assert began is expected

    def try_commit(self, name: str, ordinal: int, version: int, kind: str) -> None:
        made = turn(f"{name}-{ordinal}", [1], output(OUTPUT, version=version), kind=kind)
        expected = self.model.commit(name, made.id, version, kind)
        answer = self.change(lambda store: store.commit(name, made, encoded=encode_turn(made)))
        if expected is None:
            assert answer == self.model.episodes[name].turns.index(made.id)
        else:
            assert answer is expected

    def give(self, name: str, ordinal: int | None, value: int, *, complete: bool) -> None:
        target = None if ordinal is None else f"{name}-{ordinal}"
        expected = self.model.reward(name, target, value, complete)
        reward = Reward(value, turn_id=target, idempotency_key=self.new_call())
        self.agree(lambda store: store.reward(name, reward, complete=complete), expected)

    def try_seal(self, name: str, outcome: str) -> None:
        expected = self.model.seal(name, outcome)
        self.agree(lambda store: store.seal(name, outcome=outcome), expected)


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
        name, group, size, kind=kind, key_id=key, is_named=is_named, max_group_size=4
    )
