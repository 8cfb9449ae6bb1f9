"""Two tries of one call: the second waits for the first, unless a crash of Redis forgot that it is being sampled."""

from collections.abc import Awaitable, Callable

from hypothesis import strategies as st
from hypothesis.stateful import rule

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.turn import encode_turn
from rollout.errors import AttemptSuperseded
from rollout.store.store import Store
from tests.rollout.store.machine.agent_rules import spec_of
from tests.rollout.store.machine.caller import Caller, picks, versions
from tests.rollout.turns import output, turn


class RepeatRules(Caller):
    """Whatever is forgotten, one of them is recorded, and both get its reply."""

    @rule(
        pick=picks,
        crash_after=st.sampled_from([None, 0.0, 0.002]),
        is_first_faster=st.booleans(),
        version=versions,
    )
    def repeat(
        self, *, pick: int, crash_after: float | None, is_first_faster: bool, version: int
    ) -> None:
        spec, call = spec_of(self.pick(pick), None, None, key="key_1"), self.new_call()
        tries = [Attempt(f"{call}, {by}", call, "digest", is_repeat=True) for by in ("a", "b")]
        may_forget = self.model.may_forget_begin(spec)
        since = self.begun(spec, tries[0])
        if since is None:
            return
        crashes = crash_after is not None and self.crash_in_next(crash_after)
        is_forgotten = crashes and may_forget
        if is_forgotten:
            assert self.begun(spec, tries[1]) == since
        else:
            waiting = self.change(lambda store: store.begin(spec, since=0, attempt=tries[1]))
            assert waiting.is_being_sampled
        first, second = tries if is_first_faster or not is_forgotten else tries[::-1]
        self.commit_try(spec.id, first, since, version=version)
        if is_forgotten:
            self.refuse_try(spec.id, second, since)
        again = self.change(lambda store: store.begin(spec, since=0, attempt=second))
        assert again.reply == first.id.encode()

    def begun(self, spec: EpisodeSpec, attempt: Attempt) -> int | None:
        """The number of turns before it; None if it is refused."""
        expected = self.model.begin(spec)
        began = self.change(lambda store: store.begin(spec, since=0, attempt=attempt))
        if expected is not None:
            assert began is expected
            return None
        assert not began.is_being_sampled
        return began.header.num_turns

    def commit_try(self, name: str, attempt: Attempt, since: int, *, version: int) -> None:
        assert self.model.commit(name, f"{name}-{attempt.id}", version, "train") is None
        answer = self.change(committing(name, attempt, since, version=version))
        assert answer == len(self.model.episodes[name].turns) - 1

    def refuse_try(self, name: str, attempt: Attempt, since: int) -> None:
        self.model.take_back(self.model.episodes[name])
        answer = self.change(committing(name, attempt, since, version=0))
        assert answer is AttemptSuperseded


def committing(
    name: str, attempt: Attempt, since: int, *, version: int
) -> Callable[[Store], Awaitable[int]]:
    made = turn(f"{name}-{attempt.id}", [1], output(range(2, 4), version=version))

    async def commit(store: Store) -> int:
        return await store.commit(
            name,
            made,
            encoded=encode_turn(made),
            attempt=attempt,
            since=since,
            reply=attempt.id.encode(),
        )

    return commit
