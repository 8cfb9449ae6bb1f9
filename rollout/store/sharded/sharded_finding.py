"""Finds the episode of a call that names none, in all shards.

Turns and words are asked of every shard at once, because an episode may have said them in any; a label has a shard of its own, and
its episode may lie in another. So a call that no carrier names costs two or three round trips, and one by a new label the same.
"""

from typing import cast

from rollout.store.finding_transitions import MOST_PLACES, Clues
from rollout.store.sharded.shards import Shards
from rollout.store.store import Store

LABEL_TRIES = 8


class ShardedFinding(Store):
    _shards: Shards

    async def find(self, clues: Clues, *, otherwise: str) -> tuple[str, str]:
        """Calls that come at the same time with one session get one episode, as in one shard."""
        if found := await self._by_turn(clues):
            for label in (clues.session, clues.cache_key):
                await self._label(clues.key_id, label, found)
            return found, "turn"
        if clues.session:
            found, how = await self._labelled(clues, clues.session, otherwise)
            if clues.cache_key:
                await self._give(clues.key_id, clues.cache_key, found)
            return found, "session" if how else "new"
        if found := await self._by_words(clues):
            await self._give(clues.key_id, clues.cache_key, found)
            return found, "words"
        if clues.cache_key:
            found, how = await self._labelled(clues, clues.cache_key, otherwise)
            return found, "cache_key" if how else "new"
        return otherwise, "new"

    async def _by_turn(self, clues: Clues) -> str | None:
        """The open episode of the latest turn that has one."""
        for turn in clues.turns:
            each = Clues(clues.key_id, turns=(turn,))
            answers = await self._shards.each(lambda shard: shard.find(each, otherwise=""))  # noqa: B023
            found = next((id_ for id_, how in answers if how == "turn"), None)
            if found is not None:
                return found
        return None

    async def _by_words(self, clues: Clues) -> str | None:
        """In the shard with the longest words; among equals one that nobody has continued, the latest."""
        words = [digest for pair in clues.words[:MOST_PLACES] for digest in pair]
        if not words:
            return None
        repeat = int(clues.is_repeat)
        replies = await self._shards.each(
            lambda shard: shard.transition("said", clues.key_id, repeat, *words)
        )
        heard = []
        for number, reply in enumerate(replies):
            if reply is not None:
                place, at = cast("tuple[int, bytes]", reply)
                is_continued = float(at) < 0
                prefers = is_continued == clues.is_repeat
                heard.append((place, not prefers, -abs(float(at)), number))
        for *_, number in sorted(heard):
            only = Clues(clues.key_id, words=clues.words, is_repeat=clues.is_repeat)
            found, how = await self._shards.stores[number].find(only, otherwise="")
            if how == "words":
                return found
        return None

    async def _labelled(self, clues: Clues, label: str, otherwise: str) -> tuple[str, bool]:
        """The label's episode, and whether it had one; otherwise the label gets the one that this call opens."""
        for _ in range(LABEL_TRIES):
            before, is_alive = await self._read(clues.key_id, label)
            wanted = before if is_alive else otherwise
            now = await self._set(clues.key_id, label, before, wanted, is_opening=not is_alive)
            if now == wanted:
                return wanted, is_alive
        return otherwise, False

    async def _label(self, key_id: str, label: str, episode_id: str) -> None:
        """Give a label to an episode that was found by something surer, unless the label has a live one."""
        if label and not (await self._read(key_id, label))[1]:
            await self._give(key_id, label, episode_id)

    async def _give(self, key_id: str, label: str, episode_id: str) -> None:
        if label:
            before, _ = await self._read(key_id, label)
            await self._set(key_id, label, before, episode_id, is_opening=False)

    async def _read(self, key_id: str, label: str) -> tuple[str, bool]:
        """The label's episode or "", and whether it is open, or about to be opened by the call that took the label."""
        reply = await self._shards.of(label).transition("label", key_id, label)
        if reply is None:
            return "", False
        found, is_opening = cast("tuple[bytes, int]", reply)
        state = await self._shards.state(found.decode())
        is_open = state == ("open", key_id)
        return found.decode(), is_open or (state is None and bool(is_opening))

    async def _set(
        self, key_id: str, label: str, before: str, episode_id: str, *, is_opening: bool
    ) -> str:
        changes = (key_id, label, before, episode_id, int(is_opening))
        reply = await self._shards.of(label).transition("set_label", *changes)
        return cast("bytes", reply).decode()
