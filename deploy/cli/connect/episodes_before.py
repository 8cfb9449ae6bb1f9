"""Finds the episodes in which a command took turns: the one that was named for it, those that its key opened, or else all
that were opened meanwhile.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from deploy.cli.connect.report import Report
from deploy.errors import NotKnown
from deploy.gateway_api.episode import Episode
from deploy.gateway_api.gateway_client import PAGE, GatewayClient


@dataclass(frozen=True, slots=True)
class EpisodesBefore:
    """What the gateway has before the command runs."""

    started: int
    named: str  # the episode that was named for the command, if any
    before: Episode | None  # that episode, if it exists already

    @classmethod
    async def begin(cls, client: GatewayClient, named: str) -> Self:
        return cls(int(time.time()), named, await _read(client, named) if named else None)

    async def report(self, client: GatewayClient, key_id: str) -> Report:
        """What came of the command that had this key."""
        own, others = await self._opened(client, key_id)
        named = await self._named(client)
        episodes = [*named, *await _read_all(client, own, but=self.named)]
        if episodes:
            return Report(episodes, is_by_key=True, before=self.before)
        return Report(await _read_all(client, others, but=self.named), is_by_key=False)

    async def _named(self, client: GatewayClient) -> list[Episode]:
        """The named episode, if the command took a turn in it; it may be of any age."""
        now = await _read(client, self.named) if self.named else None
        num_before = len(self.before.turns) if self.before else 0
        return [now] if now and len(now.turns) > num_before else []

    async def _opened(self, client: GatewayClient, key_id: str) -> tuple[list[str], list[str]]:
        """The episodes that the key opened, and the newest of those that were opened meanwhile; newest first."""
        own: list[str] = []
        others: list[str] = []
        after: dict[str, str] = {}
        has_more = True
        while has_more:
            page = await client.list_episodes(limit=PAGE, **after)
            fresh = [each["id"] for each in page["data"] if each["created"] >= self.started]
            mine = [each["id"] for each in page["data"] if each["key_id"] == key_id]
            own += mine  # whatever the clocks say
            others += fresh
            has_more = page["has_more"] and bool(fresh or mine)
            after = {"after": page["data"][-1]["id"]} if has_more else {}
        return own, others[:PAGE]


async def _read_all(
    client: GatewayClient, newest_first: Iterable[str], *, but: str = ""
) -> list[Episode]:
    read = [await _read(client, each) for each in newest_first if each != but]
    return [episode for episode in reversed(read) if episode is not None]


async def _read(client: GatewayClient, episode_id: str) -> Episode | None:
    """The episode with its tokens, as far as the gateway still has them."""
    try:
        shown = await client.episode(episode_id)
        if shown["turns"]:
            shown = {**shown, "tokens": await client.episode_view(episode_id, "tokens")}
    except NotKnown:
        return None
    return Episode.parse(shown)
