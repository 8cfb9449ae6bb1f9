"""Plays every member of every row once, some at a time, whatever interrupts it.

An episode is opened under a key made of run, row and member. A run that resumes looks at the episodes of attempts without an end:
one that was completed is taken over; one in the middle of its turns is given up, and its member is played again outside the group,
which takes no more members than its size.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256

from turngate.client import AsyncTurngate, Turngate
from turngate.datasets.row import Row
from turngate.episode import AsyncEpisode, Episode, EpisodeSpec
from turngate.errors import AgentInvalid, Conflict, NotFound, TurngateError, Unreachable
from turngate.graders.grader import finite
from turngate.rollouts.agent import Player, Returned
from turngate.rollouts.attempt import Attempt
from turngate.rollouts.journal import Journal
from turngate.rollouts.progress import Progress, Show

ERROR_KEPT = 2000
STOP_SECONDS = 2.0  # for the answer to a call that opens an episode; it may also wait for room


@dataclass(frozen=True, slots=True)
class Plan:
    """How each row is played. Members of a held-out run are in no group."""

    members: int
    concurrency: int
    held_out: bool = False
    model: str = "policy"

    @property
    def identity(self) -> dict[str, object]:
        """What may not change when a run resumes."""
        return {"members": self.members, "held_out": self.held_out, "model": self.model}

    def spec(self, run: str, row: Row, member: int, number: int) -> EpisodeSpec:
        """The episode of a member. Only the first, number 0, is in the group."""
        key = f"{run}/{digest(row.id)}/{member}/{number}"
        grouped = not self.held_out and number == 0
        return EpisodeSpec(
            task=row.id if is_task_id(row.id) else digest(row.id),
            group=f"{run[:12]}-{digest(row.id)}" if grouped else None,
            group_size=self.members if grouped else None,
            held_out=self.held_out,
            model=self.model,
            idempotency_key=key,
        )


class Run:
    """One run of a plan. Both clients are used, because agents are of both kinds."""

    def __init__(
        self,
        player: Player,
        plan: Plan,
        journal: Journal,
        *,
        awaiting: AsyncTurngate,
        blocking: Turngate,
        show: Show | None,
    ) -> None:
        self._player = player
        self._plan = plan
        self._journal = journal
        self._awaiting = awaiting
        self._blocking = blocking
        self._show = show

    async def play(self, rows: Sequence[Row]) -> list[Attempt]:
        """All attempts, in the order of the rows."""
        wanted = [(row, member) for row in rows for member in range(self._plan.members)]
        finished = self._journal.finished
        waiting = iter([each for each in wanted if (each[0].id, each[1]) not in finished])
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._plan.concurrency):
                    group.create_task(self._work(waiting, len(wanted)))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None  # the first stopped the run; the others are alike
        return [finished[row.id, member] for row, member in wanted]

    async def _work(self, waiting: Iterator[tuple[Row, int]], total: int) -> None:
        for row, member in waiting:
            self._journal.end(await self._attempt(row, member))
            if self._show is not None:
                self._show(Progress.of(self._journal.finished.values(), total))

    async def _attempt(self, row: Row, member: int) -> Attempt:
        began = time.monotonic()
        ended = await self._ended(row, member)
        if ended is not None:
            return ended
        episode = await self._open(row, member)
        attempt = Attempt(row.id, member, episode.id)
        try:
            attempt = await self._played(attempt, episode, row)
        except BaseException:  # it says nothing about the model
            await _give_up(episode)
            raise
        if self._plan.held_out:
            attempt = replace(
                attempt, versions=tuple(sorted((await episode.show()).policy_versions))
            )
        return replace(attempt, seconds=round(time.monotonic() - began, 3))

    async def _played(self, attempt: Attempt, episode: AsyncEpisode, row: Row) -> Attempt:
        """An episode that has expired or moved on meanwhile is the error of its attempt."""
        try:
            return await self._graded(attempt, episode, row)
        except (Conflict, NotFound) as error:
            return replace(attempt, error=_shown(error))

    async def _graded(self, attempt: Attempt, episode: AsyncEpisode, row: Row) -> Attempt:
        """Play, grade and complete one episode. An error of the agent's own is its result, and the other agents go on."""
        try:
            returned = await self._player.play(episode, lambda: self._same(episode), row)
        except (AgentInvalid, Unreachable):
            raise
        except Exception as error:
            await episode.complete("failed")
            return replace(attempt, error=_shown(error))
        answer = returned if isinstance(returned, str) else ""
        try:
            reward = await self._reward(episode, row, returned)
        except AgentInvalid:
            raise
        except Exception as error:
            await episode.complete("aborted")
            return replace(attempt, answer=answer, error=_shown(error))
        if reward is None:
            await episode.complete()
            return replace(attempt, answer=answer, reward=episode.reward_value)
        await episode.reward(reward, complete=True, idempotency_key=f"{self._journal.run}/reward")
        return replace(attempt, answer=answer, reward=reward)

    async def _reward(self, episode: AsyncEpisode, row: Row, returned: Returned) -> float | None:
        """What the answer is worth; None if the agent posted that itself."""
        if isinstance(returned, int | float):
            return finite(float(returned), "the agent")
        if returned is None:
            return None
        if self._player.grader is not None:
            return await self._player.grader.score(returned, row)
        if episode.reward_value is not None:
            return None
        raise AgentInvalid(
            "the agent returned an answer and nothing grades it; pass grader=…, or return a number"
        )

    async def _ended(self, row: Row, member: int) -> Attempt | None:
        """The end of an attempt that was completed although its line is missing; those in the middle are given up."""
        for episode_id in self._journal.started.get((row.id, member), ()):
            try:
                shown = await self._awaiting.get_episode(episode_id)
            except NotFound:  # deleted, or its data has expired
                continue
            if shown.outcome in ("succeeded", "failed"):
                error = "failed before the run was resumed" if shown.outcome == "failed" else None
                versions = tuple(sorted(shown.policy_versions))
                return Attempt(
                    row.id, member, episode_id, reward=shown.reward, error=error, versions=versions
                )
            if shown.status == "open":
                await self._awaiting.complete_episode(episode_id, "aborted")
        return None

    async def _open(self, row: Row, member: int) -> AsyncEpisode:
        """If the run stops meanwhile, the gateway may have opened it already: it is given up too."""
        opening = asyncio.create_task(self._opened(row, member))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening], timeout=STOP_SECONDS)
            if opening.cancel() or opening.exception() is not None:
                raise
            await _give_up(opening.result())
            raise

    async def _opened(self, row: Row, member: int) -> AsyncEpisode:
        number = self._journal.next_number(row.id, member)
        episode = self._episode(row, member, number)
        try:
            await episode.open()
        except Conflict as error:
            if error.code != "group_closed":
                raise
            number += 1  # the group's deadline has passed
            episode = self._episode(row, member, number)
            await episode.open()
        self._journal.start(row, member, episode.id, number=number)
        return episode

    def _episode(self, row: Row, member: int, number: int) -> AsyncEpisode:
        return self._awaiting.episode_of(self._plan.spec(self._journal.run, row, member, number))

    def _same(self, episode: AsyncEpisode) -> Episode:
        return self._blocking.episode_of(episode.spec, episode.opened)


async def _give_up(episode: AsyncEpisode) -> None:
    """What stopped the attempt is raised, whatever becomes of this; if the run stops meanwhile, it waits for this."""
    ending = asyncio.create_task(_aborted(episode))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await asyncio.wait([ending], timeout=STOP_SECONDS)
        raise


async def _aborted(episode: AsyncEpisode) -> None:
    with suppress(TurngateError):
        await episode.complete("aborted")


def digest(text: str) -> str:
    """An id may hold anything; a key and a group's id may not."""
    return sha256(text.encode()).hexdigest()[:16]


def is_task_id(text: str) -> bool:
    """Whether the gateway takes it as the name of a task."""
    return len(text) <= 200 and text.isprintable()


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:ERROR_KEPT]
