"""The transitions of an episode from opening to sealing, called by the gateway."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

import msgspec

from rollout.episode.attempt import UNKEYED, Attempt
from rollout.episode.episode_records import (
    BegunTurn,
    EpisodeHeader,
    EpisodeSpec,
    EpisodeSummary,
    EpisodeView,
    ListedEpisode,
)
from rollout.episode.episode_status import EpisodeStatus
from rollout.episode.reward import EpisodeReward, Reward, RewardAnswer, RewardPlace
from rollout.episode.turn import Turn
from rollout.errors import DamagedEpisode, DamagedRecord
from rollout.store.redis_decoding import (
    UNREADABLE,
    Flat,
    Header,
    parse_header,
    parse_rewards,
    parse_summary,
    parse_turns,
    parse_view,
)
from rollout.store.transitions import Transitions, milliseconds

Outcome: TypeAlias = Literal["succeeded", "failed", "aborted"]


class EpisodeTransitions(Transitions):
    """The transitions of one episode."""

    async def open(self, spec: EpisodeSpec, *, body_digest: str = "") -> EpisodeHeader:
        """Open an episode, or return the one that has this id. Raises Backlogged, GroupClosed, TooManyOpenEpisodes.

        Raises RetryMismatch if it was opened by a call with another body.
        """

        async def read() -> EpisodeHeader:
            reply = await self._run("open", *opening_arguments(spec), body_digest)
            return parse_header(cast("Header", reply))

        return await self._reading(read)

    async def start_session(self, session: str, spec: EpisodeSpec) -> EpisodeHeader:
        """Open the next episode of a session, and end the one before, with a reward of 0 if it has none.

        Raises Backlogged, GroupClosed, TooManyOpenEpisodes; the one before has ended then, too.
        """

        async def read() -> EpisodeHeader:
            reply = await self._run("start_session", *opening_arguments(spec), session)
            return parse_header(cast("Header", reply))

        return await self._reading(read)

    async def session(self, session: str) -> EpisodeHeader | None:
        """The episode that a session's key stands for now."""

        async def read() -> EpisodeHeader | None:
            reply = await self._run("session", session)
            return parse_header(cast("Header", reply)) if reply else None

        return await self._reading(read)

    async def begin(
        self,
        spec: EpisodeSpec,
        *,
        since: int,
        attempt: Attempt = UNKEYED,
        begun_in: EpisodeSummary | None = None,
    ) -> BegunTurn:
        """Start a turn: open the episode if there is none, and return the turns after the first `since`.

        An attempt that has begun and asks for more turns says in which episode: unless that was deleted since, it is not
        counted again.

        Raises EpisodeSealed, Backlogged, GroupClosed, TooManyOpenEpisodes, RetryMismatch.
        """
        try:
            return await self._begin(spec, since=since, attempt=attempt, begun_in=begun_in)
        except DamagedRecord as error:
            await self.set_aside(error)
        return await self._begin(spec, since=since, attempt=attempt, begun_in=begun_in)

    async def _begin(
        self, spec: EpisodeSpec, *, since: int, attempt: Attempt, begun_in: EpisodeSummary | None
    ) -> BegunTurn:
        opened = begun_in.created_ms if begun_in is not None else ""
        begin = (spec.id, int(spec.is_named), since, *attempt_arguments(attempt), opened)
        reply = await self._run("begin", *begin) if since else None
        if reply is None:  # the episode may not exist
            reply = await self._run("begin", *begin, *opening_arguments(spec))
        summary, turns, recorded, sampled = cast(
            "tuple[Header, list[bytes], bytes | None, int]", reply
        )
        return BegunTurn(parse_summary(spec.id, summary), turns, recorded, bool(sampled))

    async def renew_attempt(self, episode_id: str, attempt: Attempt, *, has_begun: bool) -> bool:
        """Keep the lease of a call that is being sampled; returns whether a repeat waits for its reply.

        `has_begun` says that `begin` has returned a turn to sample: only then a lease that is not there was forgotten.
        """
        named = (attempt.id, attempt.retry_key, attempt.body_digest)
        return await self._run("renew_attempt", episode_id, *named, int(has_begun)) == 1

    async def withdraw(self, episode_id: str, attempt: Attempt, *, is_full: bool = False) -> None:
        """Take back a turn that was begun and failed without a commit; a full context truncates the episode."""
        await self._run("withdraw", episode_id, attempt.id, attempt.retry_key, int(is_full))

    async def commit(
        self,
        episode_id: str,
        turn: Turn,
        *,
        encoded: bytes,
        attempt: Attempt = UNKEYED,
        since: int = 0,
        reply: bytes = b"",
        continues: str = "",
        messages: bytes = b"",
        said: Sequence[str] = (),
    ) -> int:
        """Append a turn and return its ordinal; the same turn id again returns the same ordinal.

        `since` is how many turns the log had when the attempt began. `messages` are those that the turn adds to the
        conversation of the turn that it `continues`; they are kept for `conversation` while there is room. `said` are a key
        and digests by which `find` finds the episode for later calls.

        Raises EpisodeSealed once the grace period after sealing is over, AttemptSuperseded if another try of the call was
        recorded in its place: `begin` then returns the reply of that one.
        """
        ordinal = await self._run(
            "commit",
            *turn_arguments(episode_id, turn, encoded),
            *(*attempt_arguments(attempt), since),
            *(reply, continues, messages),
            len(said),
            *said,
        )
        return cast("int", ordinal)

    async def commit_first(
        self,
        spec: EpisodeSpec,
        turn: Turn,
        *,
        encoded: bytes,
        attempt: Attempt = UNKEYED,
        reply: bytes = b"",
        messages: bytes = b"",
        said: Sequence[str] = (),
    ) -> tuple[int, EpisodeSummary | None]:
        """Open an episode that is not named, and append its first turn, which was not begun.

        Nobody may know the episode before. Returns the ordinal, and the episode if this call opened it.
        """
        answer = await self._run(
            "commit",
            *turn_arguments(spec.id, turn, encoded),
            *(*attempt_arguments(attempt), 0),
            *(reply, "", messages),
            len(said),
            *said,
            *opening_arguments(spec),
        )
        if isinstance(answer, int):
            return answer, None
        ordinal, created, history = cast("tuple[int, bytes, bytes]", answer)
        return ordinal, parse_summary(spec.id, [created, history, b"1"])

    async def conversation(
        self, key_id: str, last_turn: str, *, turns: Sequence[str] = (), only_episode: str = ""
    ) -> tuple[list[bytes] | None, list[bytes | None]]:
        """What is kept of a conversation, from its first turn to this one, and of single turns; None for what is missing.

        Turns of other API keys are missing, and those of other episodes if only one may be read.
        """
        reply = await self._run("conversation", key_id, only_episode, last_turn, *turns)
        found, single, *_ = cast("tuple[list[bytes] | None, list[bytes | None]]", reply)
        return (None if found is None else found[::-1]), single

    async def reward(
        self, episode_id: str, reward: Reward, *, complete: bool = False
    ) -> RewardAnswer:
        """Record a reward, and seal the episode as succeeded if `complete`.

        Raises EpisodeClaimed, EpisodeSettled, NoSuchTurn, RetryMismatch.
        """
        (answer,) = await self.rewards([EpisodeReward(episode_id, reward, complete=complete)])
        return answer

    async def rewards(self, rewards: Sequence[EpisodeReward]) -> list[RewardAnswer]:
        """Record rewards of any episodes, or raise what `reward` raises and record none."""
        arguments = [value for reward in rewards for value in reward_arguments(reward)]
        answers = cast("list[tuple[bytes, int]]", await self._run("rewards", *arguments))
        return [
            RewardAnswer(
                each.episode_id,
                each.reward.place,
                each.reward.value,
                created_ms=int(created),
                amended=bool(amended),
            )
            for each, (created, amended) in zip(rewards, answers, strict=True)
        ]

    async def seal(
        self, episode_id: str, *, outcome: Outcome = "succeeded", truncated: bool = False
    ) -> EpisodeHeader:
        """End an episode's turns. Repeating it changes nothing."""

        async def read() -> EpisodeHeader:
            reply = await self._run("seal", episode_id, outcome, int(truncated))
            return parse_header(cast("Header", reply))

        return await self._reading(read)

    async def delete(self, episode_id: str) -> None:
        """Discard an untrained episode and its data. Raises EpisodeClaimed, EpisodeSettled."""
        await self._run("delete", episode_id)

    async def locate(self, turn_id: str) -> str | None:
        """The episode a turn belongs to."""
        reply = cast("bytes | None", await self._run("locate", turn_id))
        return reply.decode() if reply else None

    async def episode(self, episode_id: str) -> EpisodeView | None:
        """Header, turns and rewards, read at one moment."""

        async def read() -> EpisodeView | None:
            reply = await self._run("episode", episode_id)
            return parse_view(reply) if reply else None

        return await self._reading(read)

    async def turns(self, episode_id: str) -> list[Turn]:
        """The log, in the order of its commits."""

        async def read() -> list[Turn]:
            reply = cast("list[bytes]", await self._run("turns", episode_id))
            return list(parse_turns(episode_id, reply))

        return await self._reading(read)

    async def reward_history(self, episode_id: str) -> list[RewardAnswer]:
        """Every reward ever recorded, amended ones included, oldest first."""

        async def read() -> list[RewardAnswer]:
            reply = cast("list[bytes]", await self._run("reward_history", episode_id))
            return parse_reward_log(episode_id, reply)

        return await self._reading(read)

    async def episodes(
        self,
        *,
        status: EpisodeStatus | None = None,
        group_id: str = "",
        task_id: str = "",
        after: str = "",
        limit: int = 20,
        after_ms: int | None = None,
    ) -> tuple[list[ListedEpisode], bool]:
        """Episodes older than `after`, newest first, and whether there are more; without those that cannot be read.

        With `after_ms`, its opening time, it may lie in another shard.
        """
        opened = "" if after_ms is None else after_ms
        reply = await self._run("episodes", status or "", group_id, task_id, after, limit, opened)
        page, has_more, weights = cast("tuple[list[tuple[Header, Flat]], int, Flat]", reply)
        listed = []
        for header, rewards in page:
            try:
                read = parse_header(header)
                listed.append(ListedEpisode(read, parse_rewards(read.id, rewards, weights)))
            except DamagedRecord as error:  # left out, so that the others are listed
                await self.set_aside(error)
        return listed, bool(has_more)


def parse_reward_log(episode_id: str, log: Sequence[bytes]) -> list[RewardAnswer]:
    """The rewards in the order in which they were recorded."""
    try:
        events = [msgspec.msgpack.decode(data, type=tuple[str, str, str, int]) for data in log]
        return [
            RewardAnswer(
                episode_id, RewardPlace.parse(field), float(value), int(created), bool(amended)
            )
            for created, field, value, amended in events
        ]
    except UNREADABLE as error:
        raise DamagedEpisode(episode_id, f"reward_log: {error}") from error


def attempt_arguments(attempt: Attempt) -> tuple[str | int, ...]:
    """An attempt as the scripts read it."""
    return attempt.id, attempt.retry_key, attempt.body_digest, int(attempt.is_repeat)


def turn_arguments(episode_id: str, turn: Turn, encoded: bytes) -> tuple[str | int | bytes, ...]:
    """What `commit.lua` needs to know of a turn."""
    outputs, versions = turn.trainable_outputs, turn.versions
    return (
        *(episode_id, turn.id, encoded),
        *(sum(output.num_tokens for output in outputs), turn.num_output_tokens),
        *((versions[0], versions[-1]) if versions else ("", "")),
    )


def reward_arguments(given: EpisodeReward) -> tuple[str | int, ...]:
    """A reward as `rewards.lua` reads it."""
    reward = given.reward
    return (
        *(given.episode_id, reward.place.field, reward.turn_id or "", reward.name),
        *(repr(float(reward.value)), reward.idempotency_key or "", int(given.complete)),
    )


def opening_arguments(spec: EpisodeSpec) -> tuple[str | int, ...]:
    """The arguments of `opening.lua`, in its order."""
    deadline = spec.reward_deadline_seconds
    return (
        *(spec.id, spec.group_id or "", spec.group_size or 0, spec.task_id),
        "" if deadline is None else milliseconds(deadline),
        *(spec.kind, spec.metadata_json, spec.key_id, spec.history or ""),
        *(int(spec.is_named), spec.max_group_size, spec.max_open_episodes, int(spec.is_trained)),
    )
