"""The transitions of episodes, each in the shard of its episode; what concerns several is split."""

import asyncio
from collections.abc import Sequence
from typing import cast

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
from rollout.episode.reward import EpisodeReward, Reward, RewardAnswer
from rollout.episode.turn import Turn
from rollout.errors import NoSuchEpisode
from rollout.store.episode_transitions import Outcome, reward_arguments
from rollout.store.sharded.shards import Shards
from rollout.store.store import Store

MOST_PARTS = 64  # of a conversation that changes its shard from turn to turn


class ShardedEpisodes(Store):
    _shards: Shards

    async def open(self, spec: EpisodeSpec, *, body_digest: str = "") -> EpisodeHeader:
        return await self._shards.opening(
            spec, lambda shard: shard.open(spec, body_digest=body_digest)
        )

    async def start_session(self, session: str, spec: EpisodeSpec) -> EpisodeHeader:
        """As in one shard; but if the process dies between, the session's key still stands for the one that ended."""
        keeper = self._shards.of(session)
        current = cast("bytes", await keeper.transition("session_id", session)).decode()
        known = await self._header(spec.id)
        if known is None and current:
            place = await self._shards.place_of(current)
            await place.transition("end_session", current)
        header = known or await self.open(spec)
        before = await self._header(current) if known else None
        if known is None or before is None or before.created_ms < header.created_ms:
            await keeper.transition("set_session", session, spec.id)
        return header

    async def session(self, session: str) -> EpisodeHeader | None:
        reply = cast("bytes", await self._shards.of(session).transition("session_id", session))
        return await self._header(reply.decode())

    async def _header(self, episode_id: str) -> EpisodeHeader | None:
        place = await self._shards.find(episode_id) if episode_id else None
        view = None if place is None else await place.episode(episode_id)
        return None if view is None else view.header

    async def begin(
        self,
        spec: EpisodeSpec,
        *,
        since: int,
        attempt: Attempt = UNKEYED,
        begun_in: EpisodeSummary | None = None,
    ) -> BegunTurn:
        return await self._shards.opening(
            spec,
            lambda shard: shard.begin(spec, since=since, attempt=attempt, begun_in=begun_in),
        )

    async def renew_attempt(self, episode_id: str, attempt: Attempt, *, has_begun: bool) -> bool:
        place = await self._shards.place_of(episode_id)
        return await place.renew_attempt(episode_id, attempt, has_begun=has_begun)

    async def withdraw(self, episode_id: str, attempt: Attempt, *, is_full: bool = False) -> None:
        place = await self._shards.place_of(episode_id)
        await place.withdraw(episode_id, attempt, is_full=is_full)

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
        return await self._shards.at(
            episode_id,
            lambda shard: shard.commit(
                episode_id,
                turn,
                encoded=encoded,
                attempt=attempt,
                since=since,
                reply=reply,
                continues=continues,
                messages=messages,
                said=said,
            ),
        )

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
        return await self._shards.opening(
            spec,
            lambda shard: shard.commit_first(
                spec,
                turn,
                encoded=encoded,
                attempt=attempt,
                reply=reply,
                messages=messages,
                said=said,
            ),
        )

    async def conversation(
        self, key_id: str, last_turn: str, *, turns: Sequence[str] = (), only_episode: str = ""
    ) -> tuple[list[bytes] | None, list[bytes | None]]:
        """Every shard is asked for its part until one has the first turn: a conversation goes on in another episode after one ends."""
        found: list[bytes] = []
        left, single = last_turn, cast("list[bytes | None]", [None] * len(turns))
        asked = turns
        for _ in range(MOST_PARTS):
            parts = await self._shards.each(
                lambda shard: shard.transition("conversation", key_id, only_episode, left, *asked)  # noqa: B023
            )
            after = left
            for part in parts:
                _, own, known, stopped = cast(
                    "tuple[object, list[bytes | None], list[bytes], bytes]", part
                )
                single = [one or other for one, other in zip(single, own or single, strict=True)]
                if known and after == left:
                    found += known
                    after = stopped.decode()
            if not left or after == left:
                break
            left, asked = after, ()
        return (found[::-1] if not left else None), single

    async def reward(
        self, episode_id: str, reward: Reward, *, complete: bool = False
    ) -> RewardAnswer:
        return await self._shards.at(
            episode_id, lambda shard: shard.reward(episode_id, reward, complete=complete)
        )

    async def rewards(self, rewards: Sequence[EpisodeReward]) -> list[RewardAnswer]:
        """All are checked before any is recorded. What changes between may refuse some in one shard: repeat the call then.

        Rewards with idempotency keys, and those of equal value, are recorded once however often they are repeated.
        """
        by_shard: dict[Store, list[int]] = {}
        for index, each in enumerate(rewards):
            place = await self._shards.place_of(each.episode_id)
            by_shard.setdefault(place, []).append(index)
        parts = [(shard, [rewards[index] for index in own]) for shard, own in by_shard.items()]
        if len(parts) > 1:
            await asyncio.gather(*(_check(shard, own) for shard, own in parts))
        answers: dict[int, RewardAnswer] = {}
        for (shard, own), indexes in zip(parts, by_shard.values(), strict=True):
            answers |= dict(zip(indexes, await shard.rewards(own), strict=True))
        return [answers[index] for index in range(len(rewards))]

    async def seal(
        self, episode_id: str, *, outcome: Outcome = "succeeded", truncated: bool = False
    ) -> EpisodeHeader:
        return await self._shards.at(
            episode_id, lambda shard: shard.seal(episode_id, outcome=outcome, truncated=truncated)
        )

    async def delete(self, episode_id: str) -> None:
        place = await self._shards.place_of(episode_id)
        await place.delete(episode_id)

    async def locate(self, turn_id: str) -> str | None:
        found = await self._shards.each(lambda shard: shard.locate(turn_id))
        return next((episode for episode in found if episode), None)

    async def episode(self, episode_id: str) -> EpisodeView | None:
        return await self._shards.at(episode_id, lambda shard: shard.episode(episode_id))

    async def turns(self, episode_id: str) -> list[Turn]:
        return await self._shards.at(episode_id, lambda shard: shard.turns(episode_id))

    async def reward_history(self, episode_id: str) -> list[RewardAnswer]:
        return await self._shards.at(episode_id, lambda shard: shard.reward_history(episode_id))

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
        """A page of each shard, merged by time; the same time by id."""
        if after and after_ms is None:
            header = await self._header(after)
            if header is None:
                raise NoSuchEpisode(after)
            after_ms = header.created_ms
        pages = await self._shards.each(
            lambda shard: shard.episodes(
                status=status,
                group_id=group_id,
                task_id=task_id,
                after=after,
                limit=limit,
                after_ms=after_ms,
            )
        )
        listed = sorted(
            (each for page, _ in pages for each in page),
            key=lambda each: (each.header.created_ms, each.header.id.encode()),
            reverse=True,
        )
        return listed[:limit], len(listed) > limit or any(more for _, more in pages)


async def _check(shard: Store, rewards: Sequence[EpisodeReward]) -> None:
    arguments = [value for reward in rewards for value in reward_arguments(reward)]
    await shard.transition("check_rewards", *arguments)
